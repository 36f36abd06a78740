"""MutatingAdmissionPolicy: what is changed before it is stored, in which order, and what is said if it cannot be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.apiserver.policies import (
    CONFIGMAPS_RULE,
    DEPLOYMENTS_RULE,
    MUTATING,
    expect,
    mutating,
    put_in_force,
    said,
    validating,
)
from tests.apiserver.serving import CONFIGMAPS, DEPLOYMENTS, PODS, Api, configmap, deployment, pod

PODS_RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods"]}
FIRST = "Object{data: {'a': has(object.data) && 'a' in object.data ? object.data.a + 'x' : 'x'}}"


@pytest.mark.behaviour(
    "MutatingAdmissionPolicy should mutate a Deployment",
    "MutatingAdmissionPolicy should mutate a Deployment with annotations",
)
async def test_a_deployment_gets_what_the_expression_makes(api: Api) -> None:
    annotate = "Object{metadata: Object.metadata{annotations: {'mutated-by': 'admission-policy'}}}"
    await put_in_force(api, mutating("annotate.example.com", annotate, match=DEPLOYMENTS_RULE))
    scale = "Object{spec: Object.spec{replicas: object.spec.replicas + 1}}"
    await put_in_force(api, mutating("scale.example.com", scale, match={**DEPLOYMENTS_RULE, "operations": ["CREATE"]}))
    made = (await expect(api, DEPLOYMENTS, deployment("a", 2), 201)).body
    assert made["metadata"]["annotations"] == {"mutated-by": "admission-policy"}
    assert made["spec"]["replicas"] == 3
    stored = (await api.get(f"{DEPLOYMENTS}/a")).body
    assert stored["spec"]["replicas"] == 3 and stored["metadata"]["generation"] == 1
    # What a policy changes belongs to nobody.
    (owner,) = stored["metadata"]["managedFields"]
    assert "f:annotations" not in owner["fieldsV1"].get("f:metadata", {})


async def test_a_sidecar_is_laid_beside_what_is_there(api: Api) -> None:
    sidecar = """
        Object{
          spec: Object.spec{
            initContainers: [
              Object.spec.initContainers{name: "mesh-proxy", image: "mesh/proxy:v1", restartPolicy: "Always"}
            ]
          }
        }"""
    conditions = [
        {"name": "absent", "expression": "!object.spec.?initContainers.orValue([]).exists(c, c.name == 'mesh-proxy')"}
    ]
    await put_in_force(api, mutating("p", sidecar, match=PODS_RULE, matchConditions=conditions))
    made = (await expect(api, PODS, pod("a", initContainers=[{"name": "first", "image": "i"}]), 201)).body
    containers = {one["name"]: one for one in made["spec"]["initContainers"]}
    assert containers.keys() == {"first", "mesh-proxy"}
    # It has been completed as if the client had written it.
    assert containers["mesh-proxy"]["terminationMessagePath"] == "/dev/termination-log"
    assert [one["name"] for one in made["spec"]["containers"]] == ["main"]


async def test_patches_are_lists_of_operations(api: Api) -> None:
    patch = """[
        JSONPatch{op: "test", path: "/data/a", value: "b"},
        JSONPatch{op: "replace", path: "/data/a", value: "c"},
        JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("example.com/x"), value: "y"},
        JSONPatch{op: "copy", from: "/data/a", path: "/data/d"},
        JSONPatch{op: "remove", path: "/data/gone"}
    ]"""
    await put_in_force(api, mutating("p", patch))
    made = (await expect(api, CONFIGMAPS, configmap("a", {"l": "1"}, a="b", gone="x"), 201)).body
    assert made["data"] == {"a": "c", "d": "c"}
    assert made["metadata"]["labels"] == {"l": "1", "example.com/x": "y"}
    # A test that fails leaves the object as it is.
    assert (await expect(api, CONFIGMAPS, configmap("b", a="z"), 201)).body["data"] == {"a": "z"}


async def test_objects_within_a_patch_are_typed_by_their_place(api: Api) -> None:
    patch = """[JSONPatch{op: "add", path: "/spec/template/spec/containers/-",
        value: Object.spec.template.spec.containers{name: "added", image: "i",
            ports: [Object.spec.template.spec.containers.ports{containerPort: 80}]}}]"""
    await put_in_force(api, mutating("p", patch, match=DEPLOYMENTS_RULE))
    containers = (await expect(api, DEPLOYMENTS, deployment("a"), 201)).body["spec"]["template"]["spec"]["containers"]
    assert [one["name"] for one in containers] == ["main", "added"]
    assert containers[1]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]


@pytest.mark.parametrize(
    ("mutation", "problem"),
    [
        ("Object{spec: Object.spec{no: 1}}", "error applying patch: failed to convert patch object to typed object: "
         ".spec.no: field not declared in schema"),
        ("Object{spec: Object.spec{replicas: 'a'}}", "error applying patch: failed to convert patch object to typed "
         "object: .spec.replicas: expected numeric (int or float), got string"),
        ("Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {'a': 'b'}}}}",
         "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: "
         ".spec.selector"),
        ("Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: "
         "[Object.spec.other{name: 'a'}]}}}}", 'type mismatch: unexpected type name "Object.spec.other", expected '
         '"Object.spec.template.spec.containers", which matches field name path from root Object type'),
        ("Object{spec: Object.spec{replicas: object.no}}",
         "expression 'Object{spec: Object.spec{replicas: object.no}}' resulted in error: no such key: no"),
        ('[JSONPatch{op: "remove", path: "/spec/no"}]', "JSONPath: error in remove for path: '/spec/no': unable to "
         "remove nonexistent key: no: missing value"),
        ('[JSONPatch{op: "no", path: "/spec"}]', "JSONPath: Unexpected kind: no"),
        ('[JSONPatch{op: "add", path: "/spec/no", value: 1}]', 'strict decoding error: unknown field "spec.no"'),
        ('[JSONPatch{op: "add", path: "/spec/replicas", value: "a"}]', "json: cannot unmarshal string into Go struct "
         "field DeploymentSpec.spec.replicas of type int32"),
    ],
)  # fmt: skip
async def test_what_cannot_be_laid_over_the_object_refuses_it(api: Api, mutation: str, problem: str) -> None:
    await put_in_force(api, mutating("p", mutation, match=DEPLOYMENTS_RULE))
    answer = await api.create(DEPLOYMENTS, deployment("a"))
    assert answer.body["message"] == f"policy 'p' with binding 'p-0' denied request: {problem}"
    # Kubernetes' own mixture.
    assert (answer.code, answer.body["reason"]) == (403, "Invalid")
    assert answer.body["details"]["causes"] == [{"message": answer.body["message"]}]
    assert (await api.patch(f"{MUTATING[1]}/p", {"spec": {"failurePolicy": "Ignore"}})).code == 200
    await api.get(f"{MUTATING[1]}/p")
    await expect(api, DEPLOYMENTS, deployment("a"), 201)


async def test_policies_follow_each_other_by_name_and_mutations_as_they_are_written(api: Api) -> None:
    append = "Object{data: {'a': object.data.a + '%s'}}"
    for name in ("c", "a", "b"):
        await put_in_force(api, mutating(name, append % f"{name}1", append % f"{name}2"))
    assert (await expect(api, CONFIGMAPS, configmap("x", a="-"), 201)).body["data"]["a"] == "-a1a2b1b2c1c2"


async def test_who_wants_to_is_asked_once_more_if_somebody_behind_has_changed_the_object(api: Api) -> None:
    await put_in_force(api, mutating("a", FIRST, reinvocationPolicy="IfNeeded"))
    await put_in_force(api, mutating("b", "Object{data: {'b': 'y'}}"))
    data = (await expect(api, CONFIGMAPS, configmap("m"), 201)).body["data"]
    assert data == {"a": "xx", "b": "y"}


async def test_who_does_not_want_to_is_asked_once(api: Api) -> None:
    await put_in_force(api, mutating("a", FIRST))
    await put_in_force(api, mutating("b", "Object{data: {'b': 'y'}}"))
    assert (await expect(api, CONFIGMAPS, configmap("m"), 201)).body["data"] == {"a": "x", "b": "y"}


async def test_validating_policies_judge_what_mutating_ones_have_made(api: Api) -> None:
    await put_in_force(api, mutating("m", "Object{data: {'owner': request.userInfo.username}}"))
    await put_in_force(api, validating("v", "object.data.owner == 'kubernetes-admin'"))
    await expect(api, CONFIGMAPS, configmap("a", owner="somebody"), 201)


async def test_parameters_variables_and_conditions_work_as_for_validating_policies(api: Api) -> None:
    policy = mutating(
        "p",
        "Object{metadata: Object.metadata{labels: {'team': variables.team}}}",
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
        variables=[{"name": "team", "expression": "params.data.team"}],
        matchConditions=[{"name": "not-itself", "expression": "request.name != 'teams'"}],
    )
    reference = {"paramRef": {"name": "teams", "namespace": "default", "parameterNotFoundAction": "Deny"}}
    await put_in_force(api, policy, reference)
    answer = await api.create(CONFIGMAPS, configmap("a"))
    assert answer.code == 403 and answer.body["reason"] == "Forbidden"
    assert said(answer) == (
        "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    )
    assert (await api.delete(f"{MUTATING[1]}/p")).code == 200
    await api.get(f"{MUTATING[1]}/p")
    await expect(api, CONFIGMAPS, configmap("teams", team="blue"), 201)
    await expect(api, MUTATING[1], policy, 201)
    await api.get(f"{MUTATING[1]}/p")
    assert (await expect(api, CONFIGMAPS, configmap("a"), 201)).body["metadata"]["labels"] == {"team": "blue"}


async def test_a_policy_cannot_make_another_object_of_it(api: Api) -> None:
    patch = """[
        JSONPatch{op: "replace", path: "/metadata/uid", value: "mine"},
        JSONPatch{op: "add", path: "/metadata/generation", value: 7},
        JSONPatch{op: "replace", path: "/metadata/creationTimestamp", value: "2001-01-01T00:00:00Z"}
    ]"""
    await put_in_force(api, mutating("p", patch))
    metadata = (await expect(api, CONFIGMAPS, configmap("a"), 201)).body["metadata"]
    assert metadata["uid"] != "mine" and not metadata["creationTimestamp"].startswith("2001")
    assert "generation" not in metadata
    update = {**CONFIGMAPS_RULE, "operations": ["UPDATE"]}
    rename = '[JSONPatch{op: "replace", path: "/metadata/name", value: "b"}]'
    await put_in_force(api, mutating("q", rename, match=update))
    answer = await api.patch(f"{CONFIGMAPS}/a", {"data": {"a": "b"}})
    assert answer.code == 400
    away = '[JSONPatch{op: "remove", path: "/metadata"}]'
    await put_in_force(api, mutating("r", away, match={**CONFIGMAPS_RULE, "operations": ["CREATE"]}))
    assert (await api.create(CONFIGMAPS, configmap("b"))).code == 422


async def test_the_generation_counts_what_a_policy_changes(api: Api) -> None:
    await expect(api, DEPLOYMENTS, deployment("a"), 201)
    await put_in_force(api, mutating("p", "Object{spec: Object.spec{paused: true}}", match=DEPLOYMENTS_RULE))
    answer = await api.patch(f"{DEPLOYMENTS}/a", {"metadata": {"labels": {"x": "y"}}})
    assert answer.body["spec"]["paused"] is True
    assert answer.body["metadata"]["generation"] == 2


async def test_another_version_is_patched_as_the_policy_knows_it(api: Api) -> None:
    events = {"apiGroups": ["events.k8s.io"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["events"]}
    await put_in_force(api, mutating("p", "Object{note: object.note + '!'}", match=events))
    event = {
        "metadata": {"name": "e"}, "message": "hello", "reason": "r", "type": "Normal",
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
    }  # fmt: skip
    made = await expect(api, "/api/v1/namespaces/default/events", event, 201)
    assert made.body["message"] == "hello!" and made.body["apiVersion"] == "v1"


async def test_scale_is_changed_as_a_scale(api: Api) -> None:
    rule: dict[str, Any] = {**DEPLOYMENTS_RULE, "resources": ["deployments/scale"]}
    await expect(api, DEPLOYMENTS, deployment("a"), 201)
    await put_in_force(api, mutating("p", "Object{spec: Object.spec{replicas: 3}}", match=rule))
    answer = await api.patch(f"{DEPLOYMENTS}/a/scale", {"spec": {"replicas": 9}})
    assert answer.body["spec"]["replicas"] == 3, answer.body


async def test_a_policy_that_goes_while_requests_run_changes_each_object_or_not(api: Api) -> None:
    policy = mutating("p", "Object{data: {'a': 'b'}}")
    await put_in_force(api, policy)

    async def come_and_go() -> None:
        for _ in range(5):
            await api.delete(f"{MUTATING[1]}/p")
            await expect(api, MUTATING[1], policy, 201)

    writes = (expect(api, CONFIGMAPS, configmap(f"c{count}"), 201) for count in range(60))
    _, *answers = await asyncio.gather(come_and_go(), *writes)
    assert {str(answer.body.get("data")) for answer in answers} <= {"None", "{'a': 'b'}"}
