"""Custom objects are stored in one version and served in several, converted by name only or by a webhook."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.apiserver.custom import DEFINITIONS, OPEN, causes, define, definition, good, redefine, version
from tests.apiserver.hooks import HookServer, hook_server
from tests.apiserver.serving import Api, Certificates, serving

from kontinuum.store.memory.store import MemoryStore

TEXT = {"type": "string"}
PORTS = "ports.ponds.example"
V1, V2 = (f"/apis/ponds.example/{one}/namespaces/default/ports" for one in ("v1", "v2"))
Change = Callable[[dict[str, Any]], None]


@pytest.fixture
async def hooks(tmp_path: Path) -> AsyncIterator[HookServer]:
    async with hook_server(tmp_path) as hooks:
        hooks.at("/convert", answering(split_and_join))
        yield hooks


def split_and_join(obj: dict[str, Any], wanted: str) -> None:
    """v1 has ``hostPort: a:1``, v2 has ``host: a`` and ``port: 1``, as in Kubernetes' own tests."""
    if wanted.endswith("v2"):
        obj["host"], _, obj["port"] = obj.pop("hostPort").partition(":")
    else:
        obj["hostPort"] = f"{obj.pop('host')}:{obj.pop('port')}"


def answering(convert: Callable[[dict[str, Any], str], None], **response: Any) -> Callable[[Any], Any]:
    def answer(review: Any) -> Any:
        request = review["request"]
        wanted = request["desiredAPIVersion"]
        for obj in request["objects"]:
            convert(obj, wanted)
            obj["apiVersion"] = wanted
        made = {"uid": request["uid"], "convertedObjects": request["objects"], "result": {"status": "Success"}}
        return {"kind": review["kind"], "apiVersion": review["apiVersion"], "response": made | response}

    return answer


def ports(hooks: HookServer | None, *, storage: str = "v1", **spec: Any) -> dict[str, Any]:
    """Two versions; without ``hooks`` they differ in their name only."""
    one = {"type": "object", "properties": {"hostPort": TEXT}}
    two = {"type": "object", "properties": {"host": TEXT, "port": TEXT}}
    versions = [
        version("v1", storage=storage == "v1", openapi=one, selectableFields=[{"jsonPath": ".hostPort"}]),
        version("v2", storage=storage == "v2", openapi=two if hooks is not None else one,
                selectableFields=[{"jsonPath": ".host"}, {"jsonPath": ".port"}] if hooks is not None else []),
    ]  # fmt: skip
    if hooks is not None:
        webhook = {"clientConfig": hooks.client_config("/convert"), "conversionReviewVersions": ["v1"]}
        spec.setdefault("conversion", {"strategy": "Webhook", "webhook": webhook})
    return dict(definition(*versions, kind="Port", **spec))


def port(name: str, host: str, number: int, api_version: str = "v1") -> dict[str, Any]:
    body: dict[str, Any] = {"apiVersion": f"ponds.example/{api_version}", "kind": "Port", "metadata": {"name": name}}
    return body | ({"hostPort": f"{host}:{number}"} if api_version == "v1" else {"host": host, "port": str(number)})


def store_in(storage: str) -> list[dict[str, Any]]:
    return [
        {"op": "replace", "path": f"/spec/versions/{index}/storage", "value": name == storage}
        for index, name in enumerate(("v1", "v2"))
    ]


@pytest.mark.behaviour("CustomResourceConversionWebhook should be able to convert from CR v1 to CR v2")
async def test_an_object_of_one_version_is_read_in_another_that_a_webhook_makes(api: Api, hooks: HookServer) -> None:
    await define(api, ports(hooks))
    made = good(await api.create(V1, port("a", "example.org", 80)), 201)
    read = good(await api.get(f"{V2}/a"))
    assert (read["apiVersion"], read["host"], read["port"]) == ("ponds.example/v2", "example.org", "80")
    assert read["metadata"] == made["metadata"]
    assert "hostPort" not in read
    asked = hooks.asked_at("/convert")[-1]
    assert asked.body["apiVersion"] == "apiextensions.k8s.io/v1"
    assert asked.request["desiredAPIVersion"] == "ponds.example/v2"


@pytest.mark.behaviour("CustomResourceConversionWebhook should be able to convert a non homogeneous list of CRs")
async def test_a_list_of_objects_stored_in_several_versions_is_read_in_one(api: Api, hooks: HookServer) -> None:
    await define(api, ports(hooks))
    good(await api.create(V1, port("a", "one.example", 1)), 201)
    found = await redefine(api, PORTS, store_in("v2"), "json")
    assert found["status"]["storedVersions"] == ["v1", "v2"]
    good(await api.create(V1, port("b", "two.example", 2)), 201)
    for _ in range(2):
        listed = good(await api.get(V2))
        assert [(one["apiVersion"], one["host"]) for one in listed["items"]] == [
            ("ponds.example/v2", "one.example"), ("ponds.example/v2", "two.example"),
        ]  # fmt: skip
    (asked,) = [one.request["objects"] for one in hooks.asked_at("/convert")[-1:]]
    assert [one["metadata"]["name"] for one in asked] == ["a"], "what has the version already is not asked about"


async def test_writing_an_object_back_stores_it_in_the_storage_version(api: Api, hooks: HookServer) -> None:
    await define(api, ports(hooks))
    good(await api.create(V1, port("a", "one.example", 1)), 201)
    await redefine(api, PORTS, store_in("v2"), "json")
    before = good(await api.get(f"{V1}/a"))
    after = good(await api.update(f"{V1}/a", before))
    assert after["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"], "it is migrated"
    assert after["hostPort"] == "one.example:1"
    hooks.asked.clear()
    assert good(await api.get(f"{V2}/a"))["host"] == "one.example"
    assert not hooks.asked, "it is stored as it is asked for"
    same = good(await api.update(f"{V1}/a", after))
    assert same["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]
    await api.patch(f"{DEFINITIONS}/{PORTS}/status", {"status": {"storedVersions": ["v2"]}})
    gone = [{"op": "remove", "path": "/spec/versions/0"}]
    await redefine(api, PORTS, gone, "json")
    assert (await api.get(V1)).code == 404
    assert good(await api.get(f"{V2}/a"))["port"] == "1"


async def test_a_version_that_is_still_stored_cannot_be_removed(api: Api) -> None:
    await define(api, ports(None))
    await redefine(api, PORTS, store_in("v2"), "json")
    refused = await api.patch(f"{DEFINITIONS}/{PORTS}", [{"op": "remove", "path": "/spec/versions/0"}], "json")
    ((field, message),) = causes(refused)
    assert field == "status.storedVersions[0]"
    assert "v1 was previously a storage version, and must remain in spec.versions" in message


async def test_updates_patches_and_watches_speak_the_version_of_their_path(api: Api, hooks: HookServer) -> None:
    await define(api, ports(hooks))
    made = good(await api.create(V2, port("a", "one.example", 1, "v2")), 201)
    assert (made["host"], made["apiVersion"]) == ("one.example", "ponds.example/v2")
    since = made["metadata"]["resourceVersion"]
    async with (
        api.watch(V1, f"resourceVersion={since}") as in_v1,
        api.watch(V2, f"resourceVersion={since}") as in_v2,
    ):
        patched = good(await api.patch(f"{V2}/a", {"port": "2"}))
        assert (patched["host"], patched["port"]) == ("one.example", "2")
        assert (await in_v1.next())["object"]["hostPort"] == "one.example:2"
        assert (await in_v2.next())["object"]["port"] == "2"
    updated = good(await api.update(f"{V1}/a", patched | {"apiVersion": "ponds.example/v1", "hostPort": "b:3"}))
    assert updated["hostPort"] == "b:3"
    assert good(await api.delete(f"{V2}/a"))["status"] == "Success"


async def test_labels_and_annotations_may_be_converted_and_nothing_else_of_the_metadata(
    api: Api, hooks: HookServer
) -> None:
    def convert(obj: dict[str, Any], wanted: str) -> None:
        split_and_join(obj, wanted)
        obj["metadata"] |= {"labels": {"in": wanted[-2:]}, "generation": 99, "finalizers": ["x.example/y"]}

    hooks.at("/convert", answering(convert))
    await define(api, ports(hooks))
    good(await api.create(V1, port("a", "one.example", 1)), 201)
    read = good(await api.get(f"{V2}/a"))["metadata"]
    assert (read["labels"], read["generation"], read.get("finalizers")) == ({"in": "v2"}, 1, None)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (answering(split_and_join, result={"status": "Failure", "message": "no such port"}), "no such port"),
        (answering(split_and_join, convertedObjects=[]), "returned 0 objects, expected 1"),
        (answering(split_and_join, uid="other"), "expected response.uid"),
        (lambda review: review | {"response": None}, "no response provided"),
        (lambda review: [], "expected webhook response of kind ConversionReview"),
        (answering(lambda obj, _: obj["metadata"].update(name="b")), "must have the same name: b != a"),
        (answering(lambda obj, _: obj.update(kind="Other")), "invalid kind (expected Port, received Other)"),
        (answering(lambda obj, _: obj.update(metadata=7)), "it has no metadata"),
        (answering(lambda obj, _: obj["metadata"].update(labels={"a": 1})), "labels must be text"),
    ],
)  # fmt: skip
async def test_an_answer_that_is_no_conversion_is_an_error_that_names_the_problem(
    api: Api, hooks: HookServer, answer: Any, problem: str
) -> None:
    await define(api, ports(hooks))
    good(await api.create(V1, port("a", "one.example", 1)), 201)
    hooks.at("/convert", answer)
    failed = await api.get(f"{V2}/a")
    assert failed.code == 500
    assert failed.body["message"].startswith("conversion webhook for ponds.example/v1, Kind=Port failed: ")
    assert problem in failed.body["message"]
    assert good(await api.get(f"{V1}/a"))["hostPort"] == "one.example:1", "its own version needs nobody"


async def test_a_watch_ends_with_the_error_of_the_conversion(api: Api, hooks: HookServer) -> None:
    await define(api, ports(hooks))
    since = good(await api.create(V1, port("a", "one.example", 1)), 201)["metadata"]["resourceVersion"]
    async with api.watch(V2, f"resourceVersion={since}") as watch:
        hooks.answers.clear()
        good(await api.patch(f"{V1}/a", {"hostPort": "b:2"}))
        event = await watch.next()
        assert (event["type"], event["object"]["code"]) == ("ERROR", 500)
        assert await watch.next() == {}, "the stream has ended"
    hooks.at("/convert", answering(split_and_join))
    async with api.watch(V2, f"resourceVersion={since}") as watch:
        assert (await watch.next())["object"]["host"] == "b", "nothing is lost by it"


async def test_old_reviews_are_spoken_with_webhooks_that_know_no_others(api: Api, hooks: HookServer) -> None:
    body = ports(hooks)
    body["spec"]["conversion"]["webhook"]["conversionReviewVersions"] = ["v1alpha1", "v1beta1"]
    await define(api, body)
    good(await api.create(V1, port("a", "one.example", 1)), 201)
    assert good(await api.get(f"{V2}/a"))["host"] == "one.example"
    assert hooks.asked_at("/convert")[-1].body["apiVersion"] == "apiextensions.k8s.io/v1beta1"


async def test_a_webhook_is_found_behind_its_service(api: Api, tmp_path: Path) -> None:
    async with hook_server(tmp_path / "service", hosts=("hooks.default.svc",)) as hooks:
        hooks.at("/convert", answering(split_and_join))
        # Endpoints cannot be on the loopback interface, where this server is; a name can lead there.
        service = {"metadata": {"name": "hooks"}, "spec": {"type": "ExternalName", "externalName": "localhost"}}
        good(await api.create("/api/v1/namespaces/default/services", service), 201)
        body = ports(hooks)
        config = {"service": {"name": "hooks", "namespace": "default", "port": hooks.port, "path": "/convert"}}
        body["spec"]["conversion"]["webhook"]["clientConfig"] = config | {"caBundle": hooks.bundle}
        await define(api, body)
        good(await api.create(V1, port("a", "one.example", 1)), 201)
        assert good(await api.get(f"{V2}/a"))["host"] == "one.example"


async def test_versions_that_differ_in_name_only_need_no_webhook(api: Api) -> None:
    await define(api, ports(None))
    good(await api.create(V1, port("a", "one.example", 1)), 201)
    read = good(await api.get(f"{V2}/a"))
    assert (read["apiVersion"], read["hostPort"]) == ("ponds.example/v2", "one.example:1")
    await redefine(api, PORTS, store_in("v2"), "json")
    assert good(await api.get(V1))["items"][0]["apiVersion"] == "ponds.example/v1"


async def test_what_the_other_version_does_not_know_is_pruned_from_it(api: Api) -> None:
    narrow = {"type": "object", "properties": {"hostPort": TEXT}}
    wide = {"type": "object", "properties": {"hostPort": TEXT, "extra": OPEN}}
    await define(
        api, definition(version("v1", openapi=wide), version("v2", storage=False, openapi=narrow), kind="Port")
    )
    good(await api.create(V1, port("a", "b", 1) | {"extra": {"x": 1}}), 201)
    assert "extra" not in good(await api.get(f"{V2}/a"))
    assert good(await api.get(f"{V1}/a"))["extra"] == {"x": 1}


@pytest.mark.behaviour(
    "CustomResourceFieldSelectors CustomResourceFieldSelectors "
    "MUST list and watch custom resources matching the field selector"
)
async def test_fields_of_a_converted_version_select_in_lists_and_watches(api: Api, hooks: HookServer) -> None:
    await define(api, ports(hooks))
    for name, number in (("a", 80), ("b", 443), ("c", 80)):
        good(await api.create(V1, port(name, "one.example", number)), 201)

    async def names(path: str, selector: str, more: str = "") -> list[str]:
        answer = good(await api.get(f"{path}?fieldSelector={selector}{more}"))
        return [one["metadata"]["name"] for one in answer["items"]]

    assert await names(V1, "hostPort=one.example:80") == ["a", "c"]
    assert await names(V2, "host=one.example,port=443") == ["b"]
    assert await names(V2, "port=80,metadata.name!=a") == ["c"]
    page = good(await api.get(f"{V2}?fieldSelector=port=80&limit=1"))
    assert [one["metadata"]["name"] for one in page["items"]] == ["a"]
    token = page["metadata"]["continue"]
    assert await names(V2, "port=80", f"&limit=1&continue={token}") == ["c"]
    refused = await api.get(f"{V2}?fieldSelector=hostPort=x")
    assert (refused.code, refused.body["message"]) == (400, "field label not supported: hostPort")

    since = page["metadata"]["resourceVersion"]
    async with (
        api.watch(V1, f"resourceVersion={since}&fieldSelector=hostPort=one.example:80") as in_v1,
        api.watch(V2, f"resourceVersion={since}&fieldSelector=port=80") as in_v2,
        api.watch(V2, "fieldSelector=port=443") as from_the_start,
    ):
        assert await from_the_start.take(1) == [("ADDED", "b")]
        good(await api.patch(f"{V2}/b", {"port": "80"}))
        good(await api.patch(f"{V2}/a", {"port": "81"}))
        good(await api.patch(f"{V2}/c", {"metadata": {"labels": {"x": "y"}}}))
        good(await api.delete(f"{V1}/c"))
        wanted = [("ADDED", "b"), ("DELETED", "a"), ("MODIFIED", "c"), ("DELETED", "c")]
        assert await in_v1.take(4) == wanted
        assert await in_v2.take(4) == wanted
        assert await from_the_start.take(1) == [("DELETED", "b")]
    deleted = good(await api.delete(f"{V2}?fieldSelector=port=80"))
    assert [one["metadata"]["name"] for one in deleted["items"]] == ["b"]
    assert await names(V2, "host=one.example") == ["a"]


async def test_labels_that_a_conversion_gives_select_in_lists_watches_and_deletions(
    api: Api, hooks: HookServer
) -> None:
    def convert(obj: dict[str, Any], wanted: str) -> None:
        """v1 keeps in a label which port it is, v2 in a label of another name."""
        split_and_join(obj, wanted)
        labels = obj["metadata"].get("labels", {})
        mine, other = ("new", "old") if wanted.endswith("v2") else ("old", "new")
        obj["metadata"]["labels"] = {mine: labels[other]} if other in labels else labels

    hooks.at("/convert", answering(convert))
    await define(api, ports(hooks))
    for name, value in (("a", "1"), ("b", "2"), ("c", "1")):
        made = port(name, "one.example", 80)
        made["metadata"]["labels"] = {"old": value}
        since = good(await api.create(V1, made), 201)["metadata"]["resourceVersion"]

    async def names(path: str, selector: str) -> list[str]:
        answer = good(await api.get(f"{path}?labelSelector={selector}"))
        return [one["metadata"]["name"] for one in answer["items"]]

    assert await names(V1, "old=1") == ["a", "c"] and await names(V1, "new") == []
    assert await names(V2, "new=1") == ["a", "c"] and await names(V2, "old") == []
    assert await names(V2, "new=1&fieldSelector=port=81") == []
    async with (
        api.watch(V1, f"resourceVersion={since}&labelSelector=old=1") as in_v1,
        api.watch(V2, f"resourceVersion={since}&labelSelector=new=1") as in_v2,
    ):
        good(await api.patch(f"{V2}/b", {"metadata": {"labels": {"new": "1"}}}))
        good(await api.patch(f"{V1}/a", {"metadata": {"labels": {"old": "2"}}}))
        good(await api.patch(f"{V1}/c", {"hostPort": "one.example:81"}))
        wanted = [("ADDED", "b"), ("DELETED", "a"), ("MODIFIED", "c")]
        assert await in_v1.take(3) == wanted
        assert await in_v2.take(3) == wanted
    deleted = good(await api.delete(f"{V2}?labelSelector=new=1"))
    assert [one["metadata"]["name"] for one in deleted["items"]] == ["b", "c"]
    assert await names(V2, "new") == ["a"]


async def test_servers_on_one_store_read_what_the_other_stores_in_a_new_version(certificates: Certificates) -> None:
    store = MemoryStore()
    async with serving(store, certificates) as one, serving(store, certificates) as other:
        await define(one, ports(None))
        good(await other.create(V1, port("a", "h", 1)), 201)
        await redefine(one, PORTS, store_in("v2"), "json")
        good(await one.create(V1, port("b", "h", 2)), 201)
        listed = good(await other.get(V1))
        assert [item["apiVersion"] for item in listed["items"]] == ["ponds.example/v1"] * 2
