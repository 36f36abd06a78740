"""What is there from the beginning, and what comes back."""

from __future__ import annotations

import asyncio

from tests.apiserver.serving import TABLE, Api

from kontinuum.apiserver import flowcontrol

LEVELS = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations"
SCHEMAS = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"


async def test_the_systems_priority_classes_are_there(api: Api) -> None:
    found = {one["metadata"]["name"]: one["value"] for one in (await api.get(CLASSES)).body["items"]}
    assert found == {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}


async def test_every_schema_has_its_level_and_says_so(api: Api) -> None:
    await flowcontrol.look_once(api.server._context)
    levels = {one["metadata"]["name"] for one in (await api.get(LEVELS)).body["items"]}
    schemas = (await api.get(SCHEMAS)).body["items"]
    assert {one["spec"]["priorityLevelConfiguration"]["name"] for one in schemas} == levels
    table = (await api.get(SCHEMAS, accept=TABLE)).body
    assert {line["cells"][-1] for line in table["rows"]} == {"False"}


async def test_what_is_mandatory_comes_back_and_what_is_suggested_does_not(api: Api) -> None:
    for path in (f"{LEVELS}/catch-all", f"{SCHEMAS}/exempt", f"{SCHEMAS}/probes"):
        assert (await api.delete(path)).code == 200
    await flowcontrol.look_once(api.server._context)
    codes = [(await api.get(path)).code for path in
             (f"{LEVELS}/catch-all", f"{SCHEMAS}/exempt", f"{SCHEMAS}/probes")]  # fmt: skip
    assert codes == [200, 200, 404]


async def test_a_schema_without_its_level_dangles(api: Api) -> None:
    schema = {"metadata": {"name": "a"}, "spec": {"priorityLevelConfiguration": {"name": "nowhere"}}}
    created = await api.create(SCHEMAS, schema)
    assert (created.code, created.body["spec"]["matchingPrecedence"]) == (201, 1000)
    await flowcontrol.look_once(api.server._context)
    (condition,) = (await api.get(f"{SCHEMAS}/a")).body["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("Dangling", "True", "NotFound")


async def test_a_spec_follows_the_server_only_while_it_is_told_to(api: Api) -> None:
    system = (await api.get(f"{LEVELS}/system")).body
    system["spec"]["limited"]["nominalConcurrencyShares"] = 31
    system["metadata"]["annotations"] = {"apf.kubernetes.io/autoupdate-spec": "false"}
    assert (await api.update(f"{LEVELS}/system", system)).code == 200
    await flowcontrol.look_once(api.server._context)
    kept = (await api.get(f"{LEVELS}/system")).body
    assert kept["spec"]["limited"]["nominalConcurrencyShares"] == 31
    await api.patch(f"{LEVELS}/system", {"metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}}})
    await asyncio.sleep(0)
    await api.get(f"{LEVELS}/system")
    await flowcontrol.look_once(api.server._context)
    put_right = (await api.get(f"{LEVELS}/system")).body
    assert put_right["spec"]["limited"]["nominalConcurrencyShares"] == 30
    assert put_right["metadata"]["generation"] == kept["metadata"]["generation"] + 1


async def test_an_event_is_one_object_in_two_forms(api: Api) -> None:
    old, new = "/api/v1/namespaces/default/events", "/apis/events.k8s.io/v1/namespaces/default/events"
    event = {
        "metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "example.com/c",
        "reportingInstance": "c-0", "action": "Doing", "reason": "Done", "type": "Normal", "note": "n",
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
    }  # fmt: skip
    assert (await api.create(new, event)).code == 201
    stored = (await api.get(f"{old}/e")).body
    assert (stored["message"], stored["involvedObject"]["name"], stored["apiVersion"]) == ("n", "p", "v1")
    assert (await api.get(f"{new}/e")).body["note"] == "n"
    listed = await api.get(f"{new}?fieldSelector=regarding.name%3Dp,reportingController%3Dexample.com/c")
    assert [one["metadata"]["name"] for one in listed.body["items"]] == ["e"]
    assert (await api.get(f"{new}?fieldSelector=regarding.name%3Dq")).body["items"] == []
    patched = await api.patch(f"{new}/e", {"note": "other"})
    assert (patched.code, patched.body["details"]["causes"][0]["field"]) == (422, "message")
