"""admissionregistration.k8s.io: webhooks, policies and bindings as kinds."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.api.kinds import changed, made, problems, row

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.kubernetes.kinds import KINDS

RULE = {"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}
HOOK = {
    "name": "a.example.com", "rules": [RULE], "sideEffects": "None", "admissionReviewVersions": ["v1"],
    "clientConfig": {"service": {"namespace": "n", "name": "s"}},
}  # fmt: skip
WEBHOOKS = r.MUTATINGWEBHOOKCONFIGURATIONS
POLICY, BINDING = r.VALIDATINGADMISSIONPOLICIES, r.VALIDATINGADMISSIONPOLICYBINDINGS

JSON_PATCH = '[JSONPatch{op: "add", path: "/metadata/labels", value: {"a": "b"}}]'


def hook(**more: Any) -> dict[str, Any]:
    return {"webhooks": [{**HOOK, **more}]}


def rule(**more: Any) -> dict[str, Any]:
    return hook(rules=[{**RULE, **more}])


def policy(**spec: Any) -> dict[str, Any]:
    whole = {"matchConstraints": {"resourceRules": [RULE]}, "validations": [{"expression": "true"}]}
    return {"spec": {**whole, **spec}}


def mutating(**spec: Any) -> dict[str, Any]:
    mutation = {"patchType": "JSONPatch", "jsonPatch": {"expression": JSON_PATCH}}
    whole = {"matchConstraints": {"resourceRules": [RULE]}, "reinvocationPolicy": "Never", "mutations": [mutation]}
    return {"spec": {**whole, **spec}}


def binding(**spec: Any) -> dict[str, Any]:
    return {"spec": {"policyName": "p", "validationActions": ["Deny"], **spec}}


def test_good_objects_have_no_problems() -> None:
    assert problems(WEBHOOKS, hook()) == []
    assert problems(r.VALIDATINGWEBHOOKCONFIGURATIONS, hook()) == []
    assert problems(POLICY, policy()) == []
    assert problems(r.MUTATINGADMISSIONPOLICIES, mutating()) == []
    assert problems(BINDING, binding()) == []
    assert problems(r.MUTATINGADMISSIONPOLICYBINDINGS, {"spec": {"policyName": "p"}}) == []


def test_defaults_are_those_of_kubernetes() -> None:
    (stored,) = made(WEBHOOKS, hook())["webhooks"]
    filled = {field: value for field, value in stored.items() if field not in HOOK}
    assert filled == {
        "failurePolicy": "Fail", "matchPolicy": "Equivalent", "timeoutSeconds": 10, "reinvocationPolicy": "Never",
        "namespaceSelector": {}, "objectSelector": {},
    }  # fmt: skip
    assert stored["rules"][0]["scope"] == "*" and stored["clientConfig"]["service"]["port"] == 443
    (validating,) = made(r.VALIDATINGWEBHOOKCONFIGURATIONS, hook())["webhooks"]
    assert "reinvocationPolicy" not in validating
    constraints = made(POLICY, policy())["spec"]["matchConstraints"]
    assert constraints["matchPolicy"] == "Equivalent" and constraints["resourceRules"][0]["scope"] == "*"


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (hook(name="a"), 'webhooks[0].name: Invalid value: "a": should be a domain with at least three segments '
         "separated by dots"),
        (hook(sideEffects=None), "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun"),
        (hook(sideEffects="Some"), 'webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", '
         '"NoneOnDryRun"'),
        (hook(timeoutSeconds=31), "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 "
         "and 30 seconds"),
        (hook(admissionReviewVersions=["v2"]), 'webhooks[0].admissionReviewVersions: Invalid value: ["v2"]: must '
         "include at least one of v1, v1beta1"),
        (hook(clientConfig={}), "webhooks[0].clientConfig: Required value: exactly one of url or service is required"),
        (hook(clientConfig={"url": "http://a/b"}), "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is "
         "the only allowed URL scheme; desired format: https://host[/path]"),
        (hook(clientConfig={"url": "https://u@a/b?c#d"}), None),
        (rule(operations=["*", "CREATE"]), 'webhooks[0].rules[0].operations: Invalid value: ["*","CREATE"]: if \'*\' '
         "is present, must not specify other operations"),
        (rule(resources=["a/*", "a/b"]), 'webhooks[0].rules[0].resources[1]: Invalid value: "a/b": if \'a/*\' is '
         "present, must not specify a/b"),
        (rule(apiVersions=[]), "webhooks[0].rules[0].apiVersions: Required value"),
        (hook(matchConditions=[{"name": "a", "expression": " "}]),
         "webhooks[0].matchConditions[0].expression: Required value"),
    ],
)  # fmt: skip
def test_a_bad_webhook_is_refused(obj: dict[str, Any], expected: str | None) -> None:
    found = problems(WEBHOOKS, obj)
    assert found == [expected] if expected else len(found) == 3


def test_what_was_wrong_already_may_stay() -> None:
    loud = hook(sideEffects="Some")
    assert changed(WEBHOOKS, loud, loud)[1] == []
    assert len(changed(WEBHOOKS, loud, hook())[1]) == 1


@pytest.mark.parametrize(
    ("resource", "obj", "expected"),
    [
        (POLICY, policy(matchConstraints={}), ["spec.matchConstraints.resourceRules: Required value"]),
        (POLICY, policy(validations=[]),
         [f"spec.{field}: Required value: validations or auditAnnotations must contain at least one item"
          for field in ("validations", "auditAnnotations")]),
        (POLICY, policy(variables=[{"name": "in", "expression": "1"}]),
         ['spec.variables[0].name: Invalid value: "in": name is not a valid CEL identifier']),
        (POLICY, policy(validations=[{"expression": "true", "message": "a\nb"}]),
         ['spec.validations[0].message: Invalid value: "a\\nb": message must not contain line breaks']),
        (POLICY, policy(paramKind={"apiVersion": "v1", "kind": "3"}), None),
        (r.MUTATINGADMISSIONPOLICIES, mutating(mutations=[{"patchType": "JSONPatch"}]),
         ["spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch"]),
        (r.MUTATINGADMISSIONPOLICIES, mutating(reinvocationPolicy=""), ["spec.reinvocationPolicy: Required value"]),
        (BINDING, binding(validationActions=["Deny", "Warn"]), None),
        (BINDING, binding(validationActions=[]),
         ["spec.validationActions: Required value: at least one validation action is required"]),
        (BINDING, binding(paramRef={"parameterNotFoundAction": "Deny"}),
         ["spec.paramRef: Required value: one of name or selector must be specified"]),
    ],
)  # fmt: skip
def test_a_bad_policy_is_refused(resource: Any, obj: dict[str, Any], expected: list[str] | None) -> None:
    found = problems(resource, obj)
    assert found == expected if expected is not None else len(found) == 1


def compiled(source: str, problem: str) -> str:
    return f"Invalid value: {orjson.dumps(source).decode()}: {problem}"


@pytest.mark.parametrize(
    ("resource", "obj", "expected"),
    [
        (POLICY, policy(validations=[{"expression": "object.a +"}]), "spec.validations[0].expression: "),
        (POLICY, policy(validations=[{"expression": "1"}]),
         "spec.validations[0].expression: " + compiled("1", "must evaluate to bool but got int")),
        (POLICY, policy(validations=[{"expression": "object.spec.paused"}]), "spec.validations[0].expression: "
         + compiled("object.spec.paused", "must evaluate to bool but got dyn")),
        (POLICY, policy(validations=[{"expression": "params.a == 1"}]), "spec.validations[0].expression: "
         + compiled("params.a == 1", "compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' "
                    "(in container '')\n | params.a == 1\n | ^")),
        (POLICY, policy(validations=[{"expression": "true", "messageExpression": "1"}]),
         "spec.validations[0].messageExpression: " + compiled("1", "must evaluate to string but got int")),
        (POLICY, policy(validations=[{"expression": "true", "messageExpression": "string(authorizer == null)"}]),
         "spec.validations[0].messageExpression: "),
        (POLICY, policy(auditAnnotations=[{"key": "a", "valueExpression": "1"}]), "spec.auditAnnotations[0]."
         "valueExpression: " + compiled("1", "must evaluate to one of [string null_type] but got int")),
        (POLICY, policy(variables=[{"name": "a", "expression": "variables.b"}, {"name": "b", "expression": "1"}]),
         "spec.variables[0].expression: " + compiled(
             "variables.b",
             "compilation failed: ERROR: <input>:1:10: undefined field 'b'\n | variables.b\n | .........^")),
        (POLICY, policy(variables=[{"name": "a", "expression": "[1]"}], validations=[
            {"expression": "variables.a.exists(x, x == 'y')"}]), "spec.validations[0].expression: "),
        (POLICY, policy(matchConditions=[{"name": "a", "expression": "variables.a"}],
                        variables=[{"name": "a", "expression": "true"}]), "spec.matchConditions[0].expression: "),
        (r.MUTATINGADMISSIONPOLICIES, mutating(mutations=[{"patchType": "JSONPatch", "jsonPatch": {
            "expression": "[]"}}]), "spec.mutations[0].jsonPatch.expression: " + compiled(
                "[]", "must evaluate to list(JSONPatch) but got list(dyn)")),
        (r.MUTATINGADMISSIONPOLICIES, mutating(mutations=[{"patchType": "ApplyConfiguration", "applyConfiguration": {
            "expression": "Object.spec{}"}}]), "spec.mutations[0].applyConfiguration.expression: " + compiled(
                "Object.spec{}", "must evaluate to Object but got Object.spec")),
        (WEBHOOKS, hook(matchConditions=[{"name": "a", "expression": "'a'"}]),
         "webhooks[0].matchConditions[0].expression: " + compiled("'a'", "must evaluate to bool but got string")),
    ],
)  # fmt: skip
def test_an_expression_that_does_not_compile_is_refused(resource: Any, obj: dict[str, Any], expected: str) -> None:
    (found,) = problems(resource, obj)
    assert found.startswith(expected)


def test_variables_may_be_used_by_what_comes_after_them() -> None:
    variables = [{"name": "a", "expression": "object.spec.replicas"}, {"name": "b", "expression": "variables.a > 1"}]
    rules = [{"expression": "variables.b", "messageExpression": "'too many: ' + string(variables.a)"}]
    assert problems(POLICY, policy(variables=variables, validations=rules)) == []
    patches = [{"patchType": "ApplyConfiguration", "applyConfiguration": {
        "expression": "Object{spec: Object.spec{replicas: variables.a}}"}}]  # fmt: skip
    assert problems(r.MUTATINGADMISSIONPOLICIES, mutating(variables=variables, mutations=patches)) == []


def test_conditions_that_nobody_touches_are_not_judged_again() -> None:
    stored = hook(matchConditions=[{"name": "a", "expression": "no.such.thing"}])
    assert changed(WEBHOOKS, stored, stored)[1] == []
    assert len(changed(WEBHOOKS, stored, hook())[1]) == 1
    stored = policy(matchConditions=[{"name": "a", "expression": "no.such.thing"}])
    assert changed(POLICY, stored, stored)[1] == []
    assert len(changed(POLICY, stored, policy())[1]) == 1


def test_the_status_of_a_policy_is_checked() -> None:
    def said(**status: Any) -> list[str]:
        before = made(POLICY, policy())
        return [str(one) for one in KINDS[POLICY].validate_status({**before, "status": status}, before)]

    good = {"type": "Ready", "status": "True", "reason": "Because", "lastTransitionTime": "2024-01-01T00:00:00Z"}
    warning = {"fieldRef": "spec.validations[0].expression", "warning": "w"}
    assert said(conditions=[good], typeChecking={"expressionWarnings": [warning]}, observedGeneration=1) == []
    assert said(typeChecking={"expressionWarnings": [{"fieldRef": " ", "warning": "w"}]}) == [
        "status.typeChecking.expressionWarnings[0].fieldRef: Required value"
    ]
    assert said(conditions=[good, {**good, "status": "Yes"}]) == [
        'status.conditions[1].type: Duplicate value: "Ready"',
        'status.conditions[1].status: Unsupported value: "Yes": supported values: "False", "True", "Unknown"',
    ]
    assert said(conditions=[{"type": "a b", "status": "True", "observedGeneration": -1, "reason": "no reason"}]) == [
        "status.conditions[0].type: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', "
        "'_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or "
        "'123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        "status.conditions[0].observedGeneration: Invalid value: -1: must be greater than or equal to zero",
        "status.conditions[0].lastTransitionTime: Required value: must be set",
        'status.conditions[0].reason: Invalid value: "no reason": a condition reason must start with alphabetic '
        "character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an "
        "alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or "
        "'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')",
    ]


def test_tables_read_as_in_kubernetes() -> None:
    assert row(WEBHOOKS, hook())["Webhooks"] == 1
    assert row(POLICY, policy())["ParamKind"] == "<unset>"
    assert row(POLICY, policy(paramKind={"apiVersion": "v1", "kind": "ConfigMap"}))["ParamKind"] == "v1/ConfigMap"
    assert row(BINDING, binding(paramRef={"name": "a"}))["ParamRef"] == "*/a"
