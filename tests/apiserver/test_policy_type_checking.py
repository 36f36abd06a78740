"""What a validating policy's status says about its expressions, given the kinds that it matches."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.apiserver.policies import DEPLOYMENTS_RULE, VALIDATING, expect, validating
from tests.apiserver.serving import Api

from kontinuum.api.kubernetes.declared import declared_kind
from kontinuum.api.machinery.cel import CompileError, Environment
from kontinuum.apiserver.admission.policies.reporting import MANAGER
from kontinuum.apiserver.admission.policies.typechecking import subject_of, warnings_of


async def looked_at(api: Api, name: str, generation: int = 1) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while True:
            policy: dict[str, Any] = (await api.get(f"{VALIDATING[1]}/{name}")).body
            if policy["status"].get("observedGeneration") == generation:
                return policy
            await asyncio.sleep(0.05)


async def test_a_policy_says_when_it_has_been_looked_at(api: Api) -> None:
    made = await expect(api, VALIDATING[1], validating("p", "object.spec.replicas > 1", match=DEPLOYMENTS_RULE), 201)
    assert made.body["status"] == {}
    policy = await looked_at(api, "p")
    assert policy["status"] == {"observedGeneration": 1, "typeChecking": {}}
    assert policy["metadata"]["generation"] == 1
    assert status_fields(policy) == {"f:observedGeneration": {}, "f:typeChecking": {}}
    await api.patch(f"{VALIDATING[1]}/p", {"spec": {"validations": [{"expression": "object.spec.replica > 1"}]}})
    policy = await looked_at(api, "p", 2)
    (warning,) = policy["status"]["typeChecking"]["expressionWarnings"]
    assert warning == {
        "fieldRef": "spec.validations[0].expression",
        "warning": "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'replica'\n"
        " | object.spec.replica > 1\n | ...........^\n",
    }
    assert status_fields(policy) == {"f:observedGeneration": {}, "f:typeChecking": {"f:expressionWarnings": {}}}
    await api.patch(f"{VALIDATING[1]}/p", {"spec": {"validations": [{"expression": "object.spec.replicas > 2"}]}})
    mended = await looked_at(api, "p", 3)
    assert not mended["status"].get("typeChecking")
    assert [one["operation"] for one in mended["metadata"]["managedFields"]] == ["Apply", "Update"]


def status_fields(policy: dict[str, Any]) -> Any:
    """What of the status belongs to whoever checks types."""
    [entry] = [one for one in policy["metadata"]["managedFields"] if one["manager"] == MANAGER]
    assert (entry["operation"], entry["subresource"], entry["fieldsV1"].keys()) == ("Apply", "status", {"f:status"})
    return entry["fieldsV1"]["f:status"]


def warnings(api: Api, *rules: Any, **spec: Any) -> list[tuple[str, str]]:
    policy = validating("p", *rules, **{"match": DEPLOYMENTS_RULE, **spec})
    found = warnings_of(policy["spec"], subject_of(policy["spec"], api.server._context.catalog))
    return [(one["fieldRef"], one["warning"]) for one in found]


async def test_confused_types_are_told_for_expressions_and_messages(api: Api) -> None:
    rule = {
        "expression": "object.spec.replicas > '1'",
        "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas",
    }
    (first, about_expression), (second, about_message) = warnings(api, rule)
    assert (first, second) == ("spec.validations[0].expression", "spec.validations[0].messageExpression")
    assert "found no matching overload for '_>_' applied to '(int, string)'" in about_expression
    assert "found no matching overload for '_+_' applied to '(string, int)'" in about_message


async def test_what_fits_every_matched_kind_is_not_warned_about(api: Api) -> None:
    rules = (
        "object.metadata.labels.all(k, v, k.startsWith('a') && v != '')",
        "object.metadata.creationTimestamp < timestamp('2100-01-01T00:00:00Z')",
        "object.spec.template.spec.containers.all(c, c.resources.limits['cpu'] != '1')",
        "object.spec.strategy.rollingUpdate.maxSurge == 1 || object.spec.strategy.rollingUpdate.maxSurge == '25%'",
        "request.userInfo.username != '' && namespaceObject.metadata.labels['a'] == 'b'",
        "authorizer.group('').resource('pods').check('get').allowed()",
        "oldObject == null || oldObject.spec.replicas <= object.spec.replicas",
    )
    assert warnings(api, *rules) == []


async def test_each_matched_kind_is_named(api: Api) -> None:
    match = {"resourceRules": [{**DEPLOYMENTS_RULE, "resources": ["daemonsets", "deployments", "deployments/scale"]}]}
    ((_, text),) = warnings(api, "object.spec.replicas > 1", matchConstraints=match)
    assert text.startswith("apps/v1, Kind=DaemonSet: ERROR: <input>:1:12: undefined field 'replicas'")
    assert "Deployment" not in text
    both = [{**DEPLOYMENTS_RULE, "apiVersions": ["*"]}, {**DEPLOYMENTS_RULE, "apiGroups": ["no.such"]}]
    assert warnings(api, "object.no == 1", matchConstraints={"resourceRules": both}) == []


async def test_variables_and_parameters_have_their_types(api: Api) -> None:
    variables = [
        {"name": "replicas", "expression": "object.spec.replicas"},
        {"name": "names", "expression": "object.spec.template.spec.containers.map(c, c.name)"},
        {"name": "broken", "expression": "object.no"},
    ]
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    rules = (
        "variables.replicas > '1'",
        "variables.names.exists(n, n > 1)",
        "variables.broken == 1 || params.data['a'] == 'b'",
        "params.no == 1",
    )
    found = warnings(api, *rules, variables=variables, paramKind=kind)
    assert [field for field, _ in found] == [f"spec.validations[{index}].expression" for index in (0, 1, 3)]
    unknown = {"apiVersion": "example.com/v1", "kind": "Unknown"}
    assert warnings(api, "params.no == 1", paramKind=unknown) == []


def test_a_kind_that_contains_itself_is_untyped_within_itself() -> None:
    declared = declared_kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    assert declared is not None
    within = Environment({"object": declared})
    within.compile("object.spec.versions[0].schema.openAPIV3Schema.properties['a'].anything.at.all == 1")
    with pytest.raises(CompileError, match="undefined field 'no'"):
        within.compile("object.spec.versions[0].schema.openAPIV3Schema.no == 1")
