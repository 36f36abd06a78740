"""Lists: selectors, pages, revisions, and the forms a client may ask for."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from tests.apiserver.serving import (
    CONFIGMAPS,
    PODS,
    SYSTEMS_OWN,
    TABLE,
    Answer,
    Api,
    Certificates,
    configmap,
    pod,
    serving,
)

from kontinuum.store.memory.store import MemoryStore


def names(answer: Answer) -> list[str]:
    return [item["metadata"]["name"] for item in answer.body["items"]]


async def _some(api: Api, count: int) -> None:
    for number in range(count):
        labels = {"tier": "web" if number % 2 else "db"}
        assert (await api.create(CONFIGMAPS, configmap(f"c{number}", labels))).code == 201


async def test_label_selectors_choose(api: Api) -> None:
    await _some(api, 4)
    assert names(await api.get(f"{CONFIGMAPS}?labelSelector=tier%3Dweb")) == ["c1", "c3"]
    assert names(await api.get(f"{CONFIGMAPS}?labelSelector=tier+notin+(web)")) == ["c0", "c2"]
    assert (await api.get(f"{CONFIGMAPS}?labelSelector=a%3D%3D%3Db")).code == 400


@pytest.mark.parametrize(
    ("selector", "told"),
    [
        ("-tier", '<nil>: Invalid value: "-tier": name part must consist of alphanumeric characters'),
        ("!Bad_.example.com/tier", '<nil>: Invalid value: "Bad_.example.com/tier": prefix part a lowercase RFC 1123'),
        ("tier=-web", 'values[0][tier]: Invalid value: "-web": a valid label must be an empty string or consist of'),
        ("tier in (web,web-)", 'values[1][tier]: Invalid value: "web-": a valid label must be an empty string or'),
        ("tier=" + "w" * 64, f'values[0][tier]: Invalid value: "{"w" * 64}": must be no more than 63'),
    ],
)
async def test_labels_that_no_object_can_have_are_not_looked_for(api: Api, selector: str, told: str) -> None:
    refused = await api.get(f"{CONFIGMAPS}?labelSelector={quote(selector)}")
    assert (refused.code, refused.body["reason"]) == (400, "BadRequest")
    assert refused.body["message"].startswith(f"unable to parse requirement: {told}")


async def test_field_selectors_choose_by_name_and_by_the_kinds_own_fields(api: Api) -> None:
    await _some(api, 3)
    assert names(await api.get(f"{CONFIGMAPS}?fieldSelector=metadata.name%3Dc1")) == ["c1"]
    await api.create(PODS, pod("p1"))
    await api.create(PODS, pod("p2", nodeName="n1"))
    assert names(await api.get(f"{PODS}?fieldSelector=spec.nodeName%3Dn1")) == ["p2"]
    assert names(await api.get(f"{PODS}?fieldSelector=spec.nodeName%3D")) == ["p1"]
    refused = await api.get(f"{PODS}?fieldSelector=spec.bogus%3D1")
    assert refused.code == 400 and "field label not supported" in refused.body["message"]


async def test_a_list_of_all_namespaces_holds_each_namespaces_objects(api: Api) -> None:
    await api.create(CONFIGMAPS, configmap("a"))
    await api.create("/api/v1/namespaces/kube-public/configmaps", configmap("b"))
    assert names(await api.get("/api/v1/configmaps")) == ["a", "b", SYSTEMS_OWN]
    assert names(await api.get("/api/v1/namespaces/kube-public/configmaps")) == ["b"]
    assert (await api.create("/api/v1/configmaps", configmap("c"))).code == 405


async def test_pages_show_the_state_of_the_first_page(api: Api) -> None:
    await _some(api, 5)
    first = await api.get(f"{CONFIGMAPS}?limit=2")
    assert names(first) == ["c0", "c1"] and first.body["metadata"]["remainingItemCount"] == 3
    await api.delete(f"{CONFIGMAPS}/c3")
    await api.create(CONFIGMAPS, configmap("c2a"))
    await api.patch(f"{CONFIGMAPS}/c4", {"data": {"new": "1"}})
    second = await api.get(f"{CONFIGMAPS}?limit=2&continue={first.body['metadata']['continue']}")
    assert names(second) == ["c2", "c3"] and second.version == first.version
    third = await api.get(f"{CONFIGMAPS}?limit=2&continue={second.body['metadata']['continue']}")
    assert names(third) == ["c4"] and "data" not in third.body["items"][0]
    assert "continue" not in third.body["metadata"] and "remainingItemCount" not in third.body["metadata"]


async def test_pages_of_a_selection_are_full_and_end(api: Api) -> None:
    await _some(api, 7)
    first = await api.get(f"{CONFIGMAPS}?limit=2&labelSelector=tier%3Ddb")
    assert names(first) == ["c0", "c2"] and "remainingItemCount" not in first.body["metadata"]
    await api.delete(f"{CONFIGMAPS}/c6")
    path = f"{CONFIGMAPS}?limit=2&labelSelector=tier%3Ddb&continue={first.body['metadata']['continue']}"
    second = await api.get(path)
    assert names(second) == ["c4", "c6"] and "continue" not in second.body["metadata"]


async def test_a_continue_token_from_before_a_compaction_has_expired(certificates: Certificates) -> None:
    store = MemoryStore()
    async with serving(store, certificates) as api:
        await _some(api, 3)
        first = await api.get(f"{CONFIGMAPS}?limit=1")
        await api.delete(f"{CONFIGMAPS}/c2")
        await store.compact(await store.revision())
        late = await api.get(f"{CONFIGMAPS}?limit=1&continue={first.body['metadata']['continue']}")
        assert (late.code, late.body["reason"]) == (410, "Expired")


async def test_a_token_that_was_not_made_here_is_refused(api: Api) -> None:
    assert (await api.get(f"{CONFIGMAPS}?continue=abc")).code == 400
    await _some(api, 2)
    token = (await api.get(f"{CONFIGMAPS}?limit=1")).body["metadata"]["continue"]
    assert (await api.get(f"{PODS}?continue={token}")).code == 400


async def test_an_exact_revision_shows_the_past_and_not_older_than_the_present(api: Api) -> None:
    past = (await api.create(CONFIGMAPS, configmap("a"))).version
    await api.create(CONFIGMAPS, configmap("b"))
    exact = await api.get(f"{CONFIGMAPS}?resourceVersion={past}&resourceVersionMatch=Exact")
    assert names(exact) == ["a"] and exact.version == past
    fresh = await api.get(f"{CONFIGMAPS}?resourceVersion={past}&resourceVersionMatch=NotOlderThan")
    assert names(fresh) == ["a", "b"]
    assert names(await api.get(f"{CONFIGMAPS}?resourceVersion=0")) == ["a", "b"]


async def test_impossible_revisions_are_refused(certificates: Certificates) -> None:
    async with serving(MemoryStore(), certificates, read_wait_seconds=0.05) as api:
        future = await api.get(f"{CONFIGMAPS}?resourceVersion=999")
        assert future.code == 504 and future.body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
        assert (await api.get(f"{CONFIGMAPS}?resourceVersion=abc")).code == 400
        assert (await api.get(f"{CONFIGMAPS}?resourceVersionMatch=Exact")).code == 422
        assert (await api.get(f"{CONFIGMAPS}?resourceVersion=0&resourceVersionMatch=Exact")).code == 422
        assert (await api.get(f"{CONFIGMAPS}?limit=-1")).code == 400
        assert (await api.get(f"{CONFIGMAPS}?limit=x")).code == 400


async def test_a_table_has_a_row_per_object_and_as_much_of_it_as_was_asked_for(api: Api) -> None:
    await _some(api, 2)
    listed = await api.get(CONFIGMAPS, accept=TABLE)
    assert listed.body["kind"] == "Table"
    assert listed.body["columnDefinitions"][0]["name"] == "Name"
    assert [row["cells"][0] for row in listed.body["rows"]] == ["c0", "c1"]
    assert {row["object"]["kind"] for row in listed.body["rows"]} == {"PartialObjectMetadata"}
    whole = await api.get(f"{CONFIGMAPS}?includeObject=Object", accept=TABLE)
    assert whole.body["rows"][0]["object"]["kind"] == "ConfigMap"
    bare = await api.get(f"{CONFIGMAPS}?includeObject=None", accept=TABLE)
    assert bare.body["rows"][0]["object"] is None
    one = await api.get(f"{CONFIGMAPS}/c0", accept=TABLE)
    assert len(one.body["rows"]) == 1


async def test_metadata_only_leaves_the_rest_out(api: Api) -> None:
    await api.create(CONFIGMAPS, configmap("a", x="1"))
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    listed = await api.get(CONFIGMAPS, accept=accept)
    assert listed.body["kind"] == "PartialObjectMetadataList"
    (item,) = listed.body["items"]
    assert item["kind"] == "PartialObjectMetadata" and item["metadata"]["name"] == "a" and "data" not in item
    one = await api.get(f"{CONFIGMAPS}/a", accept="application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
    assert set(one.body) == {"kind", "apiVersion", "metadata"}


async def test_large_lists_are_compressed_for_those_who_accept_it(api: Api) -> None:
    for number in range(20):
        await api.create(CONFIGMAPS, configmap(f"c{number:02}", text="x" * 20_000))
    packed = await api.get(CONFIGMAPS, accept_encoding="gzip")
    plain = await api.get(CONFIGMAPS, accept_encoding="identity")
    assert packed.headers["Content-Encoding"] == "gzip" and "Content-Encoding" not in plain.headers
    assert packed.body == plain.body and len(plain.body["items"]) == 20


async def test_yaml_is_answered_to_those_who_want_it_and_protobuf_alone_is_not(api: Api) -> None:
    await api.create(CONFIGMAPS, configmap("a"))
    assert "kind: ConfigMap\n" in (await api.get(f"{CONFIGMAPS}/a", accept="application/yaml")).body
    assert (await api.get(CONFIGMAPS, accept="application/vnd.kubernetes.protobuf")).code == 406
    both = await api.get(CONFIGMAPS, accept="application/vnd.kubernetes.protobuf,application/json")
    assert both.body["kind"] == "ConfigMapList"
