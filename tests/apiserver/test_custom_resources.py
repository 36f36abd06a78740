"""What a CustomResourceDefinition defines is served at once, as built-in kinds are, and is gone with it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.apiserver.custom import (
    DEFINITIONS,
    PONDS,
    causes,
    define,
    definition,
    good,
    pond,
    redefine,
    schema,
    until_condition,
    until_gone,
    version,
)
from tests.apiserver.hooks import VALIDATING, allow, hook_server
from tests.apiserver.serving import TABLE, Api, Certificates, serving

from kontinuum.store.memory.store import MemoryStore


@pytest.mark.behaviour(
    "CustomResourceDefinition resources Simple CustomResourceDefinition "
    "creating/deleting custom resource definition objects works"
)
async def test_a_definition_is_created_served_and_deleted_with_all_its_objects(api: Api) -> None:
    made = await define(api, definition())
    assert made["status"]["acceptedNames"] == {
        "kind": "Pond", "listKind": "PondList", "plural": "ponds", "singular": "pond",
    }  # fmt: skip
    assert made["status"]["storedVersions"] == ["v1"]
    good(await api.create(PONDS, pond("a", litres=3)), 201)
    good(await api.create(PONDS, pond("b", litres=4)), 201)
    listed = good(await api.get(PONDS))
    assert (listed["kind"], [one["spec"]["litres"] for one in listed["items"]]) == ("PondList", [3, 4])
    deleted = good(await api.delete(f"{DEFINITIONS}/ponds.ponds.example"))
    assert "customresourcecleanup.apiextensions.k8s.io" in deleted["metadata"]["finalizers"]
    await until_gone(api, f"{DEFINITIONS}/ponds.ponds.example")
    assert (await api.get(PONDS)).code == 404
    await define(api, definition())
    assert good(await api.get(PONDS))["items"] == [], "another definition of the name begins without objects"


async def test_a_definition_waits_for_the_finalizers_of_its_objects_and_takes_no_new_ones(api: Api) -> None:
    await define(api, definition())
    body = pond("held", litres=1)
    body["metadata"]["finalizers"] = ["ponds.example/drain"]
    good(await api.create(PONDS, body), 201)
    good(await api.delete(f"{DEFINITIONS}/ponds.ponds.example"))
    found = await until_condition(api, "ponds.ponds.example", "Terminating", "True")
    refused = await api.create(PONDS, pond("late"))
    assert refused.code == 405
    assert "create not allowed while custom resource definition is terminating" in refused.body["message"]
    held = good(await api.get(f"{PONDS}/held"))
    assert found["metadata"]["deletionTimestamp"]
    good(await api.patch(f"{PONDS}/held", {"metadata": {"finalizers": None}}))
    await until_gone(api, f"{DEFINITIONS}/ponds.ponds.example")
    assert held["metadata"]["name"] == "held"


async def test_a_path_is_served_the_moment_its_definition_has_been_created(api: Api) -> None:
    good(await api.create(DEFINITIONS, definition()), 201)
    assert good(await api.get(PONDS))["items"] == []


async def test_servers_on_one_store_serve_each_others_definitions(certificates: Certificates) -> None:
    store = MemoryStore()
    async with serving(store, certificates) as one, serving(store, certificates) as other:
        good(await one.create(DEFINITIONS, definition()), 201)
        good(await other.create(PONDS, pond("a", litres=1)), 201)
        assert [each["metadata"]["name"] for each in good(await one.get(PONDS))["items"]] == ["a"]
        good(await other.delete(f"{DEFINITIONS}/ponds.ponds.example"))
        await until_gone(one, f"{DEFINITIONS}/ponds.ponds.example")
        assert (await one.get(PONDS)).code == (await other.get(PONDS)).code == 404


async def test_a_server_that_starts_serves_what_was_defined_before(certificates: Certificates) -> None:
    store = MemoryStore()
    async with serving(store, certificates) as api:
        await define(api, definition())
        good(await api.create(PONDS, pond("a", litres=1)), 201)
    async with serving(store, certificates) as api:
        assert [one["metadata"]["name"] for one in good(await api.get(PONDS))["items"]] == ["a"]


async def test_a_server_that_starts_goes_on_emptying_what_was_being_deleted(certificates: Certificates) -> None:
    store = MemoryStore()
    async with serving(store, certificates) as api:
        await define(api, definition())
        for name, finalizers in (("held", ["ponds.example/drain"]), ("free", [])):
            body = pond(name, litres=1)
            body["metadata"]["finalizers"] = finalizers
            good(await api.create(PONDS, body), 201)
        good(await api.delete(f"{DEFINITIONS}/ponds.ponds.example"))
        await until_gone(api, f"{PONDS}/free")
    async with serving(store, certificates) as api:
        held = good(await api.get(f"{PONDS}/held"))
        assert held["metadata"]["deletionTimestamp"]
        good(await api.patch(f"{PONDS}/held", {"metadata": {"finalizers": None}}))
        await until_gone(api, f"{DEFINITIONS}/ponds.ponds.example")


async def test_objects_are_held_against_the_schema_in_kubernetes_words(api: Api) -> None:
    await define(api, definition())
    assert causes(await api.create(PONDS, pond("x", litres=-1))) == [
        ("spec.litres", "Invalid value: -1: spec.litres in body should be greater than or equal to 0"),
    ]
    assert causes(await api.create(PONDS, pond("x", litres="many"))) == [
        ("spec.litres", 'Invalid value: "string": spec.litres in body must be of type integer: "string"'),
    ]
    answer = await api.create(PONDS, pond("x", litres=1, depth=3))
    assert good(answer, 201)["spec"] == {"litres": 1}
    assert answer.headers["Warning"] == '299 - "unknown field \\"spec.depth\\""'


async def test_a_finalizer_of_any_name_is_taken_with_a_warning_when_it_is_added(api: Api) -> None:
    """Argo CD, Metal3 and Kubernetes' own conformance suite have finalizers without a path."""
    await define(api, definition())
    body = pond("x", litres=1)
    body["metadata"]["finalizers"] = ["test-finalizer", "orphan", "example.com/proper"]
    answer = await api.create(PONDS, body)
    assert good(answer, 201)["metadata"]["finalizers"] == body["metadata"]["finalizers"]
    about = '299 - "metadata.finalizers: \\"test-finalizer\\": prefer a domain-qualified finalizer name'
    assert answer.headers["Warning"].startswith(about)
    answer = await api.patch(f"{PONDS}/x", {"spec": {"litres": 2}})
    assert good(answer) and "Warning" not in answer.headers
    body = {**pond("y", litres=1), "metadata": {"name": "y", "finalizers": ["not a name"]}}
    assert [path for path, _ in causes(await api.create(PONDS, body))] == ["metadata.finalizers[0]"]


@pytest.mark.behaviour(
    "CustomResourceDefinition resources custom resource defaulting for requests and from storage works"
)
async def test_defaults_are_filled_in_for_requests_and_into_what_is_stored_already(api: Api) -> None:
    def spec(**defaults: Any) -> dict[str, Any]:
        fields = {
            name: {"type": "string", **({"default": defaults[name]} if name in defaults else {})} for name in "ab"
        }
        return {"type": "object", "properties": fields}

    await define(api, definition(version(openapi=schema(spec()))))
    good(await api.create(PONDS, pond("old")), 201)
    change = [{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": schema(spec(a="A"))}]
    await redefine(api, "ponds.ponds.example", change, "json")
    assert good(await api.get(f"{PONDS}/old"))["spec"] == {"a": "A"}, "from storage"
    assert good(await api.create(PONDS, pond("new")), 201)["spec"] == {"a": "A"}, "for a request"
    change[0]["value"] = schema(spec(b="B"))
    await redefine(api, "ponds.ponds.example", change, "json")
    assert good(await api.get(f"{PONDS}/old"))["spec"] == {"b": "B"}, "a default that was never written is gone"
    assert good(await api.get(f"{PONDS}/new"))["spec"] == {"a": "A", "b": "B"}


async def test_names_that_are_another_definitions_are_refused_until_they_are_free(api: Api) -> None:
    await define(api, definition(names={"shortNames": ["pd"]}))
    other = definition(kind="Pool", names={"shortNames": ["pd"]})
    good(await api.create(DEFINITIONS, other), 201)
    found = await until_condition(api, "pools.ponds.example", "NamesAccepted", "False")
    condition = next(one for one in found["status"]["conditions"] if one["type"] == "NamesAccepted")
    assert (condition["reason"], condition["message"]) == ("ShortNamesConflict", '"pd" is already in use')
    assert {one["type"]: one["reason"] for one in found["status"]["conditions"]}["Established"] == "NotAccepted"
    assert (await api.get("/apis/ponds.example/v1/namespaces/default/pools")).code == 404
    good(await api.delete(f"{DEFINITIONS}/ponds.ponds.example"))
    await until_condition(api, "pools.ponds.example", "Established", "True")


async def test_discovery_tells_of_names_categories_and_subresources(api: Api) -> None:
    served = version(subresources={"status": {}})
    await define(api, definition(served, names={"shortNames": ["pd"], "categories": ["all"]}))
    (own, below) = good(await api.get("/apis/ponds.example/v1"))["resources"]
    assert (own["shortNames"], own["categories"], own["singularName"]) == (["pd"], ["all"], "pond")
    assert (below["name"], below["verbs"]) == ("ponds/status", ["get", "patch", "update"])
    groups = [one["name"] for one in good(await api.get("/apis"))["groups"]]
    assert "ponds.example" in groups


async def test_a_definition_of_a_built_in_resource_leaves_that_alone(api: Api) -> None:
    policies = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"
    policy = {"metadata": {"name": "a"}, "spec": {"podSelector": {}}}
    good(await api.create(policies, policy), 201)
    body = definition(kind="NetworkPolicy", group="networking.k8s.io", names={"plural": "networkpolicies"})
    body["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved"}
    await define(api, body)
    assert good(await api.get(f"{policies}/a"))["kind"] == "NetworkPolicy"
    good(await api.delete(f"{DEFINITIONS}/networkpolicies.networking.k8s.io"))
    await until_gone(api, f"{DEFINITIONS}/networkpolicies.networking.k8s.io")
    good(await api.create(policies, policy | {"metadata": {"name": "b"}}), 201)
    assert [one["metadata"]["name"] for one in good(await api.get(policies))["items"]] == ["a", "b"]


async def test_objects_of_versions_that_nobody_serves_go_with_their_definition(api: Api) -> None:
    await define(api, definition())
    good(await api.create(PONDS, pond("a", litres=1)), 201)
    hide = [{"op": "replace", "path": "/spec/versions/0/served", "value": False}]
    await redefine(api, "ponds.ponds.example", hide, "json")
    assert (await api.get(PONDS)).code == 404
    good(await api.delete(f"{DEFINITIONS}/ponds.ponds.example"))
    await until_gone(api, f"{DEFINITIONS}/ponds.ponds.example")
    await define(api, definition())
    assert good(await api.get(PONDS))["items"] == []


async def test_writers_and_watchers_go_on_while_the_definition_changes(api: Api) -> None:
    await define(api, definition())
    good(await api.create(PONDS, pond("a", litres=0)), 201)
    made = good(await api.get(f"{PONDS}/a"))
    seen: list[int] = []

    async def write() -> None:
        for litres in range(1, 60):
            good(await api.patch(f"{PONDS}/a", {"spec": {"litres": litres}}))

    async def follow() -> None:
        since = made["metadata"]["resourceVersion"]
        while not seen or seen[-1] < 59:
            async with api.watch(PONDS, f"resourceVersion={since}") as watch:
                while event := await watch.next():
                    assert event["type"] == "MODIFIED"
                    seen.append(event["object"]["spec"]["litres"])
                    since = event["object"]["metadata"]["resourceVersion"]
                    if seen[-1] == 59:
                        return

    async def change() -> None:
        for number in range(12):
            path = "/spec/versions/0/schema/openAPIV3Schema/description"
            await redefine(api, "ponds.ponds.example", [{"op": "add", "path": path, "value": str(number)}], "json")

    async with asyncio.timeout(60):
        await asyncio.gather(write(), follow(), change())
    assert seen == list(range(1, 60)), "each once and in order, across every change of the schema"


async def test_a_list_is_of_the_kind_that_the_definition_names(api: Api) -> None:
    await define(api, definition(names={"listKind": "Waters"}))
    good(await api.create(PONDS, pond("a", litres=1)), 201)
    assert good(await api.get(PONDS))["kind"] == "Waters"
    assert (
        "example.ponds.v1.Waters" in good(await api.get("/openapi/v3/apis/ponds.example/v1"))["components"]["schemas"]
    )


async def test_what_is_created_while_its_definition_goes_is_not_left_behind(api: Api, tmp_path: Path) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(review: Any) -> Any:
        asked.set()
        await go_on.wait()
        return allow(review)

    await define(api, definition())
    async with hook_server(tmp_path) as hooks:
        hooks.at("/slow", slow)
        rule = {"operations": ["CREATE"], "apiGroups": ["ponds.example"], "apiVersions": ["*"], "resources": ["ponds"]}
        webhooks = [hooks.webhook("/slow", rule)]
        good(await api.create(VALIDATING, {"metadata": {"name": "slow"}, "webhooks": webhooks}), 201)
        creating = asyncio.create_task(api.create(PONDS, pond("a", litres=1)))
        await asked.wait()
        good(await api.delete(f"{DEFINITIONS}/ponds.ponds.example"))
        await until_gone(api, f"{DEFINITIONS}/ponds.ponds.example")
        go_on.set()
        assert (await creating).code == 404
    await define(api, definition())
    assert good(await api.get(PONDS))["items"] == []


async def test_columns_are_shown_as_the_definition_says(api: Api) -> None:
    columns = [
        {"name": "Litres", "type": "integer", "jsonPath": ".spec.litres"},
        {"name": "First", "type": "string", "jsonPath": ".spec.fish[0]", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    await define(api, definition(version(additionalPrinterColumns=columns)))
    good(await api.create(PONDS, pond("a", litres=3, fish=["carp", "tench"])), 201)
    good(await api.create(PONDS, pond("b")), 201)
    table = good(await api.get(PONDS, accept=TABLE))
    assert [(one["name"], one["priority"]) for one in table["columnDefinitions"]] == [
        ("Name", 0), ("Litres", 0), ("First", 1), ("Age", 0),
    ]  # fmt: skip
    assert [one["cells"][:3] for one in table["rows"]] == [["a", 3, "carp"], ["b", None, None]]
