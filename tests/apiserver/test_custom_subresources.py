"""Status, scale, server-side apply, metadata-only answers, selectors and permissions of custom objects."""

from __future__ import annotations

import copy
from typing import Any

from tests.apiserver.custom import (
    PONDS,
    causes,
    define,
    definition,
    good,
    pond,
    redefine,
    schema,
    until_condition,
    version,
)
from tests.apiserver.serving import Api

INTEGER, TEXT = {"type": "integer"}, {"type": "string"}
PARTIALS = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
SCALED = {
    "type": "object",
    "properties": {
        "spec": {"type": "object", "properties": {"size": {**INTEGER, "maximum": 5}, "other": TEXT}},
        "status": {"type": "object", "properties": {"size": INTEGER, "selector": TEXT}},
    },
}
SCALE = {
    "specReplicasPath": ".spec.size",
    "statusReplicasPath": ".status.size",
    "labelSelectorPath": ".status.selector",
}


def scaled() -> dict[str, Any]:
    return dict(definition(version(openapi=SCALED, subresources={"status": {}, "scale": SCALE})))


async def test_status_is_written_by_its_own_path_and_counts_no_generation(api: Api) -> None:
    await define(api, scaled())
    made = good(await api.create(PONDS, pond("a", size=1) | {"status": {"size": 9}}), 201)
    assert "status" not in made and made["metadata"]["generation"] == 1
    made["status"], made["spec"] = {"size": 1}, {"size": 4}
    updated = good(await api.update(f"{PONDS}/a/status", made))
    assert (updated["status"], updated["spec"], updated["metadata"]["generation"]) == ({"size": 1}, {"size": 1}, 1)
    updated["status"], updated["spec"] = {"size": 7}, {"size": 2}
    again = good(await api.update(f"{PONDS}/a", updated))
    assert (again["status"], again["spec"], again["metadata"]["generation"]) == ({"size": 1}, {"size": 2}, 2)
    assert causes(await api.patch(f"{PONDS}/a/status", {"status": {"size": "x"}}))[0][0] == "status.size"


async def test_without_a_status_subresource_status_is_a_field_like_others(api: Api) -> None:
    await define(api, definition(version(openapi=SCALED)))
    made = good(await api.create(PONDS, pond("a", size=1) | {"status": {"size": 9}}), 201)
    assert made["status"] == {"size": 9}
    patched = good(await api.patch(f"{PONDS}/a", {"status": {"size": 8}}))
    assert patched["metadata"]["generation"] == 2
    assert (await api.get(f"{PONDS}/a/status")).code == 404


async def test_the_replicas_are_scaled_where_the_definition_says(api: Api) -> None:
    await define(api, scaled())
    good(await api.create(PONDS, pond("a", size=2, other="x")), 201)
    good(await api.patch(f"{PONDS}/a/status", {"status": {"size": 1, "selector": "app=a"}}))
    scale = good(await api.get(f"{PONDS}/a/scale"))
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert (scale["spec"], scale["status"]) == ({"replicas": 2}, {"replicas": 1, "selector": "app=a"})
    scale["spec"]["replicas"] = 3
    assert good(await api.update(f"{PONDS}/a/scale", scale))["spec"] == {"replicas": 3}
    assert (await api.update(f"{PONDS}/a/scale", scale)).code == 409, "it is of an older state now"
    good(await api.patch(f"{PONDS}/a/scale", {"spec": {"replicas": 4}}))
    found = good(await api.get(f"{PONDS}/a"))
    assert (found["spec"], found["metadata"]["generation"]) == ({"size": 4, "other": "x"}, 3)
    assert causes(await api.patch(f"{PONDS}/a/scale", {"spec": {"replicas": 6}}))[0][0] == "spec.size"
    good(await api.create(PONDS, pond("unsized")), 201)
    assert (await api.get(f"{PONDS}/unsized/scale")).code == 500, "it does not say how many it wants"
    assert good(await api.patch(f"{PONDS}/unsized/scale", {"spec": {"replicas": 1}}))["spec"] == {"replicas": 1}


async def test_a_scale_is_applied_by_a_manager_that_owns_the_replicas_and_nothing_else(api: Api) -> None:
    await define(api, scaled())
    good(await api.patch(f"{PONDS}/a?fieldManager=owner", pond("a", size=2, other="x"), "apply"), 201)
    body = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"}, "spec": {"replicas": 4}}
    conflict = await api.patch(f"{PONDS}/a/scale?fieldManager=scaler", body, "apply")
    assert conflict.code == 409 and ".spec.size" in conflict.body["message"]
    forced = good(await api.patch(f"{PONDS}/a/scale?fieldManager=scaler&force=true", body, "apply"))
    assert (forced["kind"], forced["spec"]) == ("Scale", {"replicas": 4})
    found = good(await api.get(f"{PONDS}/a"))
    assert (found["spec"], found["metadata"]["generation"]) == ({"size": 4, "other": "x"}, 2)
    (own,) = [one for one in found["metadata"]["managedFields"] if one["manager"] == "scaler"]
    assert (own["operation"], own["subresource"]) == ("Apply", "scale")
    assert own["fieldsV1"] == {"f:spec": {"f:size": {}}}
    refused = await api.patch(f"{PONDS}/a/scale?fieldManager=scaler", pond("a", size=1), "apply")
    assert refused.code == 400


LISTS = schema({
    "type": "object",
    "properties": {
        "ports": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["number", "protocol"],
            "items": {
                "type": "object", "required": ["number"],
                "properties": {"number": INTEGER, "protocol": {**TEXT, "default": "TCP"}, "name": TEXT},
            },
        },
        "names": {"type": "array", "x-kubernetes-list-type": "set", "items": TEXT},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": TEXT},
        "plain": {"type": "array", "items": TEXT},
    },
})  # fmt: skip


async def apply(api: Api, manager: str, query: str = "", **spec: Any) -> Any:
    return await api.patch(f"{PONDS}/a?fieldManager={manager}{query}", pond("a", **spec), "apply")


async def test_managers_share_lists_and_maps_as_the_schema_says(api: Api) -> None:
    await define(api, definition(version(openapi=LISTS)))
    good(await apply(api, "one", ports=[{"number": 80, "name": "web"}], names=["x"]), 201)
    shared = good(await apply(api, "two", ports=[{"number": 443}, {"number": 80, "protocol": "UDP"}], names=["y"]))
    assert [(port["number"], port["protocol"]) for port in shared["spec"]["ports"]] == [
        (80, "TCP"), (443, "TCP"), (80, "UDP"),
    ]  # fmt: skip
    assert shared["spec"]["names"] == ["x", "y"]
    conflict = await apply(api, "two", ports=[{"number": 80, "name": "other"}])
    assert conflict.code == 409 and '"one"' in conflict.body["message"]
    assert '.spec.ports[number=80,protocol="TCP"].name' in conflict.body["message"]
    less = good(await apply(api, "two", ports=[{"number": 443}]))
    assert [port["number"] for port in less["spec"]["ports"]] == [80, 443] and less["spec"]["names"] == ["x"]
    good(await apply(api, "one", whole={"a": "1"}, plain=["p"]))
    assert (await apply(api, "two", whole={"b": "2"})).code == 409, "an atomic map has one owner"
    forced = good(await apply(api, "two", "&force=true", whole={"b": "2"}, plain=["q"]))
    assert (forced["spec"]["whole"], forced["spec"]["plain"]) == ({"b": "2"}, ["q"])
    owned = {one["manager"]: one["fieldsV1"] for one in forced["metadata"]["managedFields"]}
    assert "f:whole" in owned["two"]["f:spec"] and "one" not in owned


async def test_an_apply_of_one_version_is_owned_in_another(api: Api) -> None:
    await define(api, definition(version("v1"), version("v2", storage=False)))
    good(await apply(api, "one", litres=1), 201)
    in_v2 = f"{PONDS.replace('/v1/', '/v2/')}/a?fieldManager=two"
    conflict = await api.patch(in_v2, pond("a", "ponds.example/v2", litres=2), "apply")
    assert conflict.code == 409
    good(await api.patch(f"{in_v2}&force=true", pond("a", "ponds.example/v2", litres=2), "apply"))
    assert good(await api.get(f"{PONDS}/a"))["spec"] == {"litres": 2}


async def test_elements_of_sets_and_maps_occur_once(api: Api) -> None:
    await define(api, definition(version(openapi=LISTS)))
    twice = [{"number": 1}, {"number": 1, "protocol": "TCP"}]
    assert causes(await api.create(PONDS, pond("a", ports=twice, names=["x", "x"]))) == [
        ("spec.ports[1]", 'Duplicate value: {"number":1,"protocol":"TCP"}'),
        ("spec.names[1]", 'Duplicate value: "x"'),
    ]


async def test_metadata_alone_is_answered_and_watched(api: Api) -> None:
    await define(api, definition())
    good(await api.create(PONDS, pond("a", litres=1)), 201)
    partials = good(await api.get(PONDS, accept=PARTIALS))
    assert partials["kind"] == "PartialObjectMetadataList"
    assert partials["items"][0].keys() == {"kind", "apiVersion", "metadata"}


async def test_fields_that_the_definition_names_select(api: Api) -> None:
    served = version(selectableFields=[{"jsonPath": ".spec.litres"}])
    await define(api, definition(served))
    for name, litres in (("a", 1), ("b", 2)):
        good(await api.create(PONDS, pond(name, litres=litres)), 201)
    found = good(await api.get(f"{PONDS}?fieldSelector=spec.litres%3D2"))
    assert [one["metadata"]["name"] for one in found["items"]] == ["b"]
    async with api.watch(PONDS, "fieldSelector=spec.litres%3D1") as watch:
        assert await watch.take(1) == [("ADDED", "a")]
        good(await api.patch(f"{PONDS}/b", {"spec": {"litres": 1}}))
        assert await watch.take(1) == [("ADDED", "b")]
    fewer = [{"op": "remove", "path": "/spec/versions/0/selectableFields"}]
    await redefine(api, "ponds.ponds.example", fewer, "json")
    assert (await api.get(f"{PONDS}?fieldSelector=spec.litres%3D2")).code == 400


async def test_updates_need_a_version_and_a_deletion_answers_a_status(api: Api) -> None:
    await define(api, definition())
    made = good(await api.create(PONDS, pond("a", litres=1)), 201)
    assert causes(await api.update(f"{PONDS}/a", pond("a", litres=2)))[0][0] == "metadata.resourceVersion"
    assert (await api.update(f"{PONDS}/none", made)).code == 400
    missing = copy.deepcopy(made)
    missing["metadata"] = {"name": "none", "resourceVersion": "1"}
    assert (await api.update(f"{PONDS}/none", missing)).code == 404
    strategic = await api.patch(f"{PONDS}/a", {"spec": {}}, "strategic")
    assert strategic.code == 415
    deleted = good(await api.delete(f"{PONDS}/a"))
    assert (deleted["kind"], deleted["details"]["uid"]) == ("Status", made["metadata"]["uid"])


async def test_roles_speak_of_custom_resources_like_of_others(api: Api) -> None:
    await define(api, definition())
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    rules = [{"apiGroups": ["ponds.example"], "resources": ["ponds"], "verbs": ["get", "list", "create"]}]
    good(await api.create(f"{rbac}/roles", {"metadata": {"name": "ponds"}, "rules": rules}), 201)
    binding = {
        "metadata": {"name": "ponds"}, "roleRef": {"kind": "Role", "name": "ponds", "apiGroup": RBAC},
        "subjects": [{"kind": "User", "name": "jane", "apiGroup": RBAC}],
    }  # fmt: skip
    good(await api.create(f"{rbac}/rolebindings", binding), 201)
    jane = {"impersonate_user": "jane"}
    good(await api.create(PONDS, pond("a", litres=1), **jane), 201)
    good(await api.get(f"{PONDS}/a", **jane))
    refused = await api.call("DELETE", f"{PONDS}/a", **jane)
    assert refused.code == 403
    assert 'cannot delete resource "ponds" in API group "ponds.example"' in refused.body["message"]
    assert (await api.get(f"{PONDS}/a/status", **jane)).code == 403


RBAC = "rbac.authorization.k8s.io"


async def test_a_resource_of_the_whole_cluster_lives_in_no_namespace(api: Api) -> None:
    await define(api, definition(scope="Cluster"))
    path = "/apis/ponds.example/v1/ponds"
    good(await api.create(path, pond("a", litres=1)), 201)
    assert good(await api.get(f"{path}/a"))["metadata"].get("namespace") is None
    assert (await api.get(PONDS)).code == 404


async def test_a_deprecated_version_warns_whoever_uses_it(api: Api) -> None:
    versions = [version("v1", deprecated=True), version("v2", storage=False)]
    await define(api, definition(*versions))
    warned = await api.get(PONDS)
    assert warned.headers["Warning"] == '299 - "ponds.example/v1 Pond is deprecated; use ponds.example/v2 Pond"'
    assert "Warning" not in (await api.get(PONDS.replace("/v1/", "/v2/"))).headers
    text = [{"op": "add", "path": "/spec/versions/0/deprecationWarning", "value": "leave v1"}]
    await redefine(api, "ponds.ponds.example", text, "json")
    assert (await api.create(PONDS, pond("a"))).headers["Warning"] == '299 - "leave v1"'


async def test_a_change_of_names_is_served_once_they_are_accepted(api: Api) -> None:
    await define(api, definition())
    names = {"spec": {"names": {"singular": "pool", "shortNames": ["po2"], "categories": ["water"]}}}
    await redefine(api, "ponds.ponds.example", names)
    found = await until_condition(api, "ponds.ponds.example", "NamesAccepted", "True")
    assert found["status"]["acceptedNames"]["shortNames"] == ["po2"]
    (own,) = [one for one in good(await api.get("/apis/ponds.example/v1"))["resources"] if one["name"] == "ponds"]
    assert (own["singularName"], own["shortNames"], own["categories"]) == ("pool", ["po2"], ["water"])
