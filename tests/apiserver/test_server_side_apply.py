"""Server-side apply and managedFields through the API."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from tests.apiserver.serving import CONFIGMAPS, DEPLOYMENTS, PATCH_TYPES, PODS, Answer, Api, configmap, deployment, pod

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


async def apply(api: Api, path: str, config: Any, manager: str = "me", *, query: str = "") -> Answer:
    body = config if isinstance(config, bytes) else orjson.dumps(config)
    url = f"{path}?fieldManager={manager}{query}"
    return await api.call("PATCH", url, body, content_type=PATCH_TYPES["apply"])


def config(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    version = {"Deployment": "apps/v1"}.get(kind, "v1")
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **fields}


def web(**spec: Any) -> dict[str, Any]:
    return config("Deployment", "web", spec={**deployment("web")["spec"], **spec})


def entry(answer: Answer, manager: str, subresource: str = "") -> dict[str, Any]:
    (found,) = [
        one
        for one in answer.body["metadata"]["managedFields"]
        if (one["manager"], one.get("subresource", "")) == (manager, subresource)
    ]
    return found


async def test_an_apply_creates_and_then_changes(api: Api) -> None:
    made = await apply(api, f"{CONFIGMAPS}/a", config("ConfigMap", "a", data={"x": "1"}))
    assert made.code == 201 and made.body["data"] == {"x": "1"} and made.body["metadata"]["uid"]
    (owner,) = made.body["metadata"]["managedFields"]
    assert owner == {
        "manager": "me", "operation": "Apply", "apiVersion": "v1", "time": made.body["metadata"]["creationTimestamp"],
        "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:x": {}}},
    }  # fmt: skip
    changed = await apply(api, f"{CONFIGMAPS}/a", config("ConfigMap", "a", data={"y": "2"}))
    assert changed.code == 200 and changed.body["data"] == {"y": "2"}


async def test_applying_the_same_again_writes_nothing(api: Api) -> None:
    first = await apply(api, f"{DEPLOYMENTS}/web", web())
    again = await apply(api, f"{DEPLOYMENTS}/web", web())
    assert (first.code, again.code) == (201, 200)
    assert again.body == first.body


async def test_a_conflict_names_the_field_and_its_owner_and_force_takes_it(api: Api) -> None:
    await api.create(DEPLOYMENTS + "?fieldManager=maker", deployment("web"))
    refused = await apply(api, f"{DEPLOYMENTS}/web", web(replicas=5))
    assert (refused.code, refused.body["reason"]) == (409, "Conflict")
    assert refused.body["message"].startswith('Apply failed with 1 conflict: conflict with "maker" using apps/v1')
    assert refused.body["details"]["causes"][0]["reason"] == "FieldManagerConflict"
    assert refused.body["details"]["causes"][0]["field"] == ".spec.replicas"
    forced = await apply(api, f"{DEPLOYMENTS}/web", web(replicas=5), query="&force=true")
    assert forced.code == 200 and forced.body["spec"]["replicas"] == 5
    assert "f:replicas" not in entry(forced, "maker")["fieldsV1"]["f:spec"]


async def test_a_field_given_up_by_its_last_owner_falls_back_to_its_default(api: Api) -> None:
    await apply(api, f"{DEPLOYMENTS}/web", web(replicas=5, minReadySeconds=3))
    left = {key: value for key, value in web()["spec"].items() if key != "replicas"}
    changed = await apply(api, f"{DEPLOYMENTS}/web", config("Deployment", "web", spec=left))
    assert changed.body["spec"]["replicas"] == 1 and "minReadySeconds" not in changed.body["spec"]
    assert changed.body["metadata"]["generation"] == 2


async def test_yaml_is_understood(api: Api) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  day: '2001-01-01'\n  note: on the way\n"
    assert (await apply(api, f"{CONFIGMAPS}/a", text)).body["data"] == {"day": "2001-01-01", "note": "on the way"}


@pytest.mark.parametrize(
    ("body", "query", "code", "words"),
    [
        (config("ConfigMap", "a"), "", 422, "fieldManager: Required value: is required for apply patch"),
        (config("ConfigMap", "a"), "?fieldManager=" + "m" * 129, 422, "Too long: may not be more than 128 bytes"),
        (config("ConfigMap", "b"), "?fieldManager=me", 400, "the name of the object (b) does not match the name on"),
        (config("Secret", "a"), "?fieldManager=me", 400, "invalid object type: /v1, Kind=Secret"),
        ({"metadata": {"name": "a"}}, "?fieldManager=me", 400, "invalid object type: /, Kind="),
        (config("ConfigMap", "a", bogus=1), "?fieldManager=me", 400,
         "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .bogus: field not declared in schema"),
        (b"a: [", "?fieldManager=me", 400, "error decoding YAML"),
        (b"a: &a [*a]", "?fieldManager=me", 400, "error decoding YAML"),
        (b"[]", "?fieldManager=me", 400, "error decoding YAML"),
    ],
)  # fmt: skip
async def test_what_is_no_apply_is_refused(api: Api, body: Any, query: str, code: int, words: str) -> None:
    sent = body if isinstance(body, bytes) else orjson.dumps(body)
    refused = await api.call("PATCH", f"{CONFIGMAPS}/a{query}", sent, content_type=PATCH_TYPES["apply"])
    assert refused.code == code and words in refused.body["message"]


async def test_a_configuration_may_not_bring_its_own_managed_fields(api: Api) -> None:
    body = config("ConfigMap", "a")
    body["metadata"]["managedFields"] = []
    refused = await apply(api, f"{CONFIGMAPS}/a", body)
    assert (refused.code, refused.body["message"]) == (400, "metadata.managedFields must be nil")


async def test_a_configuration_for_an_older_state_or_another_incarnation_conflicts(api: Api) -> None:
    first = await apply(api, f"{CONFIGMAPS}/a", config("ConfigMap", "a", data={"x": "1"}))
    await apply(api, f"{CONFIGMAPS}/a", config("ConfigMap", "a", data={"x": "2"}))
    stale = config("ConfigMap", "a", data={"x": "3"})
    stale["metadata"]["resourceVersion"] = first.version
    refused = await apply(api, f"{CONFIGMAPS}/a", stale)
    assert (refused.code, refused.body["reason"]) == (409, "Conflict")
    assert "the object has been modified" in refused.body["message"]
    gone = config("ConfigMap", "b")
    gone["metadata"]["uid"] = "u"
    refused = await apply(api, f"{CONFIGMAPS}/b", gone)
    assert refused.code == 409 and "no existing object was found" in refused.body["message"]


async def test_a_dry_run_shows_the_result_or_the_conflict_and_stores_nothing(api: Api) -> None:
    tried = await apply(api, f"{CONFIGMAPS}/a", config("ConfigMap", "a", data={"x": "1"}), query="&dryRun=All")
    assert tried.code == 201 and (await api.get(f"{CONFIGMAPS}/a")).code == 404
    await apply(api, f"{CONFIGMAPS}/a", config("ConfigMap", "a", data={"x": "1"}))
    body = config("ConfigMap", "a", data={"x": "2"})
    assert (await apply(api, f"{CONFIGMAPS}/a", body, "other", query="&dryRun=All")).code == 409
    changed = await apply(api, f"{CONFIGMAPS}/a", body, query="&dryRun=All")
    assert changed.body["data"] == {"x": "2"}
    assert (await api.get(f"{CONFIGMAPS}/a")).body["data"] == {"x": "1"}


async def test_status_is_applied_and_owned_by_itself(api: Api) -> None:
    await apply(api, f"{DEPLOYMENTS}/web", web())
    body = config("Deployment", "web", spec={"replicas": 9}, status={"replicas": 3})
    changed = await apply(api, f"{DEPLOYMENTS}/web/status", body, "reporter")
    assert changed.code == 200
    assert (changed.body["status"]["replicas"], changed.body["spec"]["replicas"]) == (3, 1)
    assert entry(changed, "reporter", "status")["fieldsV1"] == {"f:status": {"f:replicas": {}}}
    both = await apply(api, f"{DEPLOYMENTS}/web", {**web(), "status": {"replicas": 7}})
    assert both.body["status"]["replicas"] == 3 and "f:status" not in entry(both, "me")["fieldsV1"]
    nobody = config("Deployment", "none", status={"replicas": 1})
    assert (await apply(api, f"{DEPLOYMENTS}/none/status", nobody)).code == 404


async def test_a_scaler_takes_the_number_of_replicas_over(api: Api) -> None:
    await apply(api, f"{DEPLOYMENTS}/web", web(replicas=2))
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 4}}
    await api.call("PUT", f"{DEPLOYMENTS}/web/scale?fieldManager=scaler", scale)
    found = await api.get(f"{DEPLOYMENTS}/web")
    assert entry(found, "scaler", "scale")["fieldsV1"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in entry(found, "me")["fieldsV1"]["f:spec"]
    refused = await apply(api, f"{DEPLOYMENTS}/web", web(replicas=2))
    assert refused.code == 409 and 'conflict with "scaler" with subresource "scale"' in refused.body["message"]


async def test_an_object_without_owners_is_taken_over_from_before_the_first_apply(api: Api) -> None:
    await api.create(CONFIGMAPS, configmap("a", x="1", y="1"))
    cleared = await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"managedFields": [{}]}})
    assert "managedFields" not in cleared.body["metadata"]
    changed = await api.patch(f"{CONFIGMAPS}/a", {"data": {"y": "2"}})
    assert "managedFields" not in changed.body["metadata"]
    applied = await apply(api, f"{CONFIGMAPS}/a", config("ConfigMap", "a", data={"x": "1"}))
    assert entry(applied, "before-first-apply")["operation"] == "Update"
    assert entry(applied, "me")["fieldsV1"] == {"f:data": {"f:x": {}}}
    assert (await apply(api, f"{CONFIGMAPS}/a", config("ConfigMap", "a", data={"x": "2"}))).code == 409


async def test_every_write_says_who_made_it(api: Api) -> None:
    made = await api.create(CONFIGMAPS, configmap("a", x="1"), user_agent="maker/v1.2 (linux)")
    assert entry(made, "maker")["operation"] == "Update"
    assert entry(made, "maker")["fieldsV1"] == {"f:data": {".": {}, "f:x": {}}}
    patched = await api.call(
        "PATCH", f"{CONFIGMAPS}/a?fieldManager=patcher", {"data": {"y": "2"}}, content_type=PATCH_TYPES["merge"]
    )
    assert entry(patched, "patcher")["fieldsV1"] == {"f:data": {"f:y": {}}}
    replaced = await api.call("PUT", f"{CONFIGMAPS}/a?fieldManager=writer", {**patched.body, "data": {"x": "9"}})
    assert entry(replaced, "writer")["fieldsV1"] == {"f:data": {"f:x": {}}}
    assert [one["manager"] for one in replaced.body["metadata"]["managedFields"]] == ["maker", "writer"]


async def test_a_status_write_is_its_own_entry_and_a_write_without_change_is_none(api: Api) -> None:
    await api.create(PODS, pod("p"), user_agent="maker/1")
    sent = {"status": {"phase": "Running"}}
    first = await api.call("PATCH", f"{PODS}/p/status?fieldManager=kubelet", sent, content_type=PATCH_TYPES["merge"])
    assert entry(first, "kubelet", "status")["fieldsV1"] == {"f:status": {"f:phase": {}}}
    again = await api.call("PATCH", f"{PODS}/p/status?fieldManager=other", sent, content_type=PATCH_TYPES["merge"])
    assert again.body == first.body


async def test_managed_fields_that_cannot_be_read_are_ignored_and_readable_ones_are_taken(api: Api) -> None:
    made = await api.create(CONFIGMAPS, configmap("a", x="1"), user_agent="maker/1")
    wrong = [{"manager": "bad", "operation": "Guess", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {}}]
    kept = await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"managedFields": wrong}})
    assert kept.body["metadata"]["managedFields"] == made.body["metadata"]["managedFields"]
    mine = {**made.body["metadata"]["managedFields"][0], "manager": "renamed", "operation": "Apply"}
    operations = [{"op": "replace", "path": "/metadata/managedFields", "value": [mine]}]
    moved = await api.patch(f"{CONFIGMAPS}/a", operations, "json")
    assert moved.body["metadata"]["managedFields"] == [mine]
    emptied = await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"managedFields": None}})
    assert emptied.body["metadata"]["managedFields"] == [mine]


async def test_kubectls_own_annotation_is_kept_up_and_its_fields_are_taken_over(api: Api) -> None:
    body = config("ConfigMap", "a", data={"x": "1"})
    body["metadata"]["annotations"] = {LAST_APPLIED: orjson.dumps(config("ConfigMap", "a", data={"x": "1"})).decode()}
    await api.create(f"{CONFIGMAPS}?fieldManager=kubectl-client-side-apply", body)
    changed = config("ConfigMap", "a", data={"x": "2"})
    assert (await apply(api, f"{CONFIGMAPS}/a", changed, "another")).code == 409
    taken = await apply(api, f"{CONFIGMAPS}/a", changed, "kubectl")
    assert taken.code == 200 and taken.body["data"] == {"x": "2"}
    last = orjson.loads(taken.body["metadata"]["annotations"][LAST_APPLIED])
    assert last["data"] == {"x": "2"}


async def test_appliers_at_the_same_time_all_get_their_fields(api: Api) -> None:
    answers = await asyncio.gather(
        *(apply(api, f"{CONFIGMAPS}/a", config("ConfigMap", "a", data={f"k{n}": "v"}), f"m{n}") for n in range(8))
    )
    assert sorted(answer.code for answer in answers) == [200] * 7 + [201]
    found = (await api.get(f"{CONFIGMAPS}/a")).body
    assert len(found["data"]) == len(found["metadata"]["managedFields"]) == 8


async def test_duplicate_fields_are_warned_about_or_refused(api: Api) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: '1'\n  x: '2'\n"
    warned = await apply(api, f"{CONFIGMAPS}/a", text)
    assert warned.code == 201 and 'line 6: key \\"x\\" already set in map' in warned.headers["Warning"]
    refused = await apply(api, f"{CONFIGMAPS}/a", text, query="&fieldValidation=Strict")
    assert refused.code == 400 and refused.body["message"].startswith("error strict decoding YAML: ")


async def test_force_is_for_applies_only(api: Api) -> None:
    await api.create(CONFIGMAPS, configmap("a"))
    refused = await api.call("PATCH", f"{CONFIGMAPS}/a?force=true", {}, content_type=PATCH_TYPES["merge"])
    assert refused.code == 422
    assert "force: Forbidden: may not be specified for non-apply patch" in refused.body["message"]
