"""rbac.authorization.k8s.io and flowcontrol.apiserver.k8s.io as kinds: words of refusal, what is fixed, tables."""

from __future__ import annotations

from typing import Any

import pytest
from tests.api.kinds import changed, made, problems, row

from kontinuum.api.kubernetes import flowcontrol
from kontinuum.api.kubernetes import resources as r
from kontinuum.api.machinery.patches import copy

RULE = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}
ROLE = {"kind": "ClusterRole", "name": "view"}


def binding(*subjects: dict[str, Any], **role: Any) -> dict[str, Any]:
    return {"roleRef": {**ROLE, **role}, "subjects": list(subjects)}


def level(**limited: Any) -> dict[str, Any]:
    return {"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}, **limited}}}


def schema(**spec: Any) -> dict[str, Any]:
    rule = {"subjects": [{"kind": "User", "user": {"name": "u"}}],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/a"]}]}  # fmt: skip
    return {"spec": {"priorityLevelConfiguration": {"name": "p"}, "rules": [rule], **spec}}


def test_good_objects_have_no_problems() -> None:
    assert problems(r.ROLES, {"metadata": {"name": "system:A b"}, "rules": [RULE]}) == []
    assert problems(r.CLUSTERROLES, {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/metrics"]}]}) == []
    assert problems(r.ROLEBINDINGS, binding({"kind": "ServiceAccount", "name": "a"}, kind="Role")) == []
    assert problems(r.PRIORITYLEVELCONFIGURATIONS, level()) == []
    assert problems(r.FLOWSCHEMAS, schema()) == []


def test_users_and_roles_belong_to_the_group_unless_they_say_otherwise() -> None:
    stored = made(r.ROLEBINDINGS, binding({"kind": "User", "name": "a"}, {"kind": "ServiceAccount", "name": "b"}))
    assert stored["roleRef"]["apiGroup"] == "rbac.authorization.k8s.io"
    assert [one.get("apiGroup") for one in stored["subjects"]] == ["rbac.authorization.k8s.io", None]


@pytest.mark.parametrize(
    ("resource", "obj", "expected"),
    [
        (r.ROLES, {"rules": [{**RULE, "verbs": []}]},
         "rules[0].verbs: Required value: verbs must contain at least one value"),
        (r.ROLES, {"rules": [{"verbs": ["get"], "resources": ["pods"]}]},
         "rules[0].apiGroups: Required value: resource rules must supply at least one api group"),
        (r.ROLES, {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/a"]}]},
         'rules[0].nonResourceURLs: Invalid value: ["/a"]: namespaced rules cannot apply to non-resource URLs'),
        (r.CLUSTERROLES, {"aggregationRule": {}}, "aggregationRule.clusterRoleSelectors: Required value: at least one "
         "clusterRoleSelector required if aggregationRule is non-nil"),
        (r.ROLES, {"metadata": {"name": "a/b"}}, 'metadata.name: Invalid value: "a/b": may not contain \'/\''),
        (r.CLUSTERROLEBINDINGS, binding(kind="Role"),
         'roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"'),
        (r.CLUSTERROLEBINDINGS, binding({"kind": "ServiceAccount", "name": "a"}),
         "subjects[0].namespace: Required value"),
        (r.ROLEBINDINGS, binding({"kind": "Robot", "name": "a"}), 'subjects[0].kind: Unsupported value: "Robot": '
         'supported values: "ServiceAccount", "User", "Group"'),
        (r.PRIORITYLEVELCONFIGURATIONS, {"spec": {"type": "Exempt"}},
         "spec.type: Invalid value: \"Exempt\": type must be 'Exempt' if and only if name is 'exempt'"),
        (r.PRIORITYLEVELCONFIGURATIONS, level(lendablePercent=101),
         "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive"),
        (r.PRIORITYLEVELCONFIGURATIONS, level(limitResponse={"type": "Queue"}), "spec.limited.limitResponse.queuing: "
         "Required value: must not be empty if limited.limitResponse.type is Limited"),
        (r.PRIORITYLEVELCONFIGURATIONS, level(limitResponse={"type": "Queue", "queuing": {"handSize": 65}}),
         "spec.limited.limitResponse.queuing.handSize: Invalid value: 65: should not be greater than queues (64)"),
        (r.PRIORITYLEVELCONFIGURATIONS, level(limitResponse={"type": "Queue", "queuing": {"handSize": 11}}),
         "spec.limited.limitResponse.queuing.handSize: Invalid value: 11: required entropy bits of deckSize 64 and "
         "handSize 11 should not be greater than 60"),
        (r.FLOWSCHEMAS, schema(matchingPrecedence=1), "spec.matchingPrecedence: Invalid value: 1: only the schema "
         "named 'exempt' may have matchingPrecedence 1"),
        (r.FLOWSCHEMAS, schema(rules=[{"subjects": [{"kind": "User"}], "nonResourceRules": [
            {"verbs": ["get"], "nonResourceURLs": ["/a"]}]}]),
         "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'"),
        (r.FLOWSCHEMAS, schema(priorityLevelConfiguration={}),
         "spec.priorityLevelConfiguration.name: Required value: must reference a priority level"),
    ],
)  # fmt: skip
def test_a_bad_object_is_refused(resource: Any, obj: dict[str, Any], expected: str) -> None:
    assert problems(resource, obj) == [expected]


def test_a_binding_keeps_its_role() -> None:
    _, errors = changed(r.ROLEBINDINGS, binding(name="edit"), binding())
    assert errors == [
        'roleRef: Invalid value: {"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"edit"}: '
        "cannot change roleRef"
    ]


@pytest.mark.parametrize(
    ("resource", "table"),
    [
        (r.FLOWSCHEMAS, {**flowcontrol.MANDATORY_SCHEMAS, **flowcontrol.SUGGESTED_SCHEMAS}),
        (r.PRIORITYLEVELCONFIGURATIONS, {**flowcontrol.MANDATORY_LEVELS, **flowcontrol.SUGGESTED_LEVELS}),
    ],
)
def test_what_every_server_has_is_good_and_complete(resource: Any, table: dict[str, Any]) -> None:
    for obj in flowcontrol.objects(table):
        assert problems(resource, obj) == []
        assert made(resource, obj)["spec"] == obj["spec"]


def test_what_is_mandatory_keeps_its_spec() -> None:
    obj = copy(flowcontrol.objects(flowcontrol.MANDATORY_LEVELS)[0])
    obj["spec"]["limited"]["nominalConcurrencyShares"] = 6
    (problem,) = problems(r.PRIORITYLEVELCONFIGURATIONS, obj)
    assert problem.endswith("spec of 'catch-all' must equal the fixed value")
    exempt = copy(flowcontrol.objects(flowcontrol.MANDATORY_LEVELS)[1])
    exempt["spec"]["exempt"]["lendablePercent"] = 50
    assert problems(r.PRIORITYLEVELCONFIGURATIONS, exempt) == []
    schema = copy(flowcontrol.objects(flowcontrol.MANDATORY_SCHEMAS)[0])
    schema["spec"]["matchingPrecedence"] = 2
    assert problems(r.FLOWSCHEMAS, schema)[0].endswith("spec of 'exempt' must equal the fixed value")


def test_tables_read_as_in_kubernetes() -> None:
    subjects = [
        {"kind": "User", "name": "u"}, {"kind": "Group", "name": "g"}, {"kind": "Group", "name": "h"},
        {"kind": "ServiceAccount", "namespace": "n", "name": "s"},
    ]  # fmt: skip
    shown = row(r.ROLEBINDINGS, binding(*subjects))
    assert (shown["Role"], shown["Users"], shown["Groups"], shown["ServiceAccounts"]) == (
        "ClusterRole/view", "u", "g, h", "n/s",
    )  # fmt: skip
    assert row(r.ROLES, {})["Created At"] == "2023-11-14T22:12:15Z"
    levels = {obj["metadata"]["name"]: obj for obj in flowcontrol.objects(flowcontrol.SUGGESTED_LEVELS)}
    shown = row(r.PRIORITYLEVELCONFIGURATIONS, levels["system"])
    assert (shown["NominalConcurrencyShares"], shown["Queues"], shown["HandSize"]) == (30, 64, 6)
    (exempt, _) = flowcontrol.objects(flowcontrol.MANDATORY_SCHEMAS)
    shown = row(r.FLOWSCHEMAS, exempt)
    assert (shown["DistinguisherMethod"], shown["MissingPL"]) == ("<none>", "?")
    shown = row(r.FLOWSCHEMAS, exempt, conditions=[{"type": "Dangling", "status": "False"}])
    assert shown["MissingPL"] == "False"
