"""ValidatingAdmissionPolicy: what is refused, warned about and noted, with which words, and for whom it holds."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from tests.apiserver.policies import (
    CONFIGMAPS_RULE,
    DEPLOYMENTS_RULE,
    GROUP,
    VALIDATING,
    expect,
    mutating,
    put_in_force,
    said,
    validating,
)
from tests.apiserver.serving import CONFIGMAPS, DEPLOYMENTS, PODS, Api, configmap, deployment, pod

from kontinuum.api.kubernetes.resources import CONFIGMAPS as CONFIGMAPS_RESOURCE
from kontinuum.apiserver.admission.chain import Attributes, kind_of
from kontinuum.apiserver.admission.matching import Criteria
from kontinuum.apiserver.admission.policies.hooks import Binding
from kontinuum.apiserver.admission.policies.judging import Denial, Outcome
from kontinuum.apiserver.admission.policies.measures import PolicyMeasures
from kontinuum.apiserver.admission.policies.validating import Notes, settle
from kontinuum.apiserver.authn.users import User

NAMESPACES = "/api/v1/namespaces"
REPLICASETS = "/apis/apps/v1/namespaces/default/replicasets"


@pytest.mark.behaviour("ValidatingAdmissionPolicy should validate against a Deployment")
async def test_a_deployment_is_held_against_the_expression_and_others_are_not(api: Api) -> None:
    rule = {
        "expression": "object.spec.replicas > 1",
        "messageExpression": "'wants replicas > 1, got ' + string(object.spec.replicas)",
    }
    await put_in_force(api, validating("replicas.example.com", rule, match=DEPLOYMENTS_RULE))
    answer = await api.create(DEPLOYMENTS, deployment("marker", 1))
    assert answer.code == 422
    assert answer.body["reason"] == "Invalid"
    assert answer.body["message"] == (
        "deployments.apps \"marker\" is forbidden: ValidatingAdmissionPolicy 'replicas.example.com' with binding "
        "'replicas.example.com-0' denied request: wants replicas > 1, got 1"
    )
    assert answer.body["details"]["causes"] == [{"message": answer.body["message"].partition(": ")[2]}]
    await expect(api, DEPLOYMENTS, deployment("replicated", 2), 201)
    replicaset = deployment("alone", 1)
    await expect(api, REPLICASETS, replicaset, 201)
    assert (await api.patch(f"{DEPLOYMENTS}/replicated", {"spec": {"replicas": 1}})).code == 422


@pytest.mark.behaviour("ValidatingAdmissionPolicy should allow expressions to refer variables.")
async def test_expressions_may_refer_to_variables(api: Api) -> None:
    variables = [
        {"name": "replicas", "expression": "object.spec.replicas"},
        {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"},
    ]
    rules = [
        {"expression": "variables.replicas > 1"},
        {"expression": "variables.oddReplicas", "messageExpression": "'even: ' + string(variables.replicas)"},
    ]
    await put_in_force(api, validating("odd", *rules, match=DEPLOYMENTS_RULE, variables=variables))
    assert said(await api.create(DEPLOYMENTS, deployment("one", 1))) == "failed expression: variables.replicas > 1"
    assert said(await api.create(DEPLOYMENTS, deployment("four", 4))) == "even: 4"
    await expect(api, DEPLOYMENTS, deployment("three", 3), 201)


@pytest.mark.parametrize(
    ("rule", "code", "reason", "message"),
    [
        ({"expression": " false "}, 422, "Invalid", "failed expression: false"),
        ({"expression": "false", "message": " no "}, 422, "Invalid", "no"),
        ({"expression": "false", "reason": "Forbidden"}, 403, "Forbidden", "failed expression: false"),
        ({"expression": "false", "reason": "RequestEntityTooLarge"}, 413, "RequestEntityTooLarge",
         "failed expression: false"),
        ({"expression": "false", "message": "m", "messageExpression": "'a\\nb'"}, 422, "Invalid", "m"),
        ({"expression": "false", "message": "m", "messageExpression": "' '"}, 422, "Invalid", "m"),
        ({"expression": "false", "message": "m", "messageExpression": "string(object.no)"}, 422, "Invalid", "m"),
        ({"expression": "false", "message": "m", "messageExpression": "'" + "é" * 3000 + "'"}, 422, "Invalid", "m"),
        ({"expression": "object.no == 1"}, 422, "Invalid",
         "expression 'object.no == 1' resulted in error: no such key: no"),
        ({"expression": "[1,2,3,4,5,6,7,8,9,0].all(a, [1,2,3,4,5,6,7,8,9,0].all(b, [1,2,3,4,5,6,7,8,9,0].all(c, "
          "[1,2,3,4,5,6,7,8,9,0].all(d, [1,2,3,4,5,6,7,8,9,0].all(e, [1,2,3,4,5,6,7,8,9,0].all(f, a + b >= 0))))))"},
         422, "Invalid", None),
    ],
)  # fmt: skip
async def test_a_refusal_has_the_code_and_words_of_its_validation(
    api: Api, rule: dict[str, Any], code: int, reason: str, message: str | None
) -> None:
    await put_in_force(api, validating("p", rule))
    answer = await api.create(CONFIGMAPS, configmap("a"))
    assert (answer.code, answer.body["code"], answer.body["reason"]) == (code, code, reason)
    if message is None:
        assert said(answer).endswith("resulted in error: operation cancelled: actual cost limit exceeded")
    else:
        assert said(answer) == message


async def test_all_expressions_together_have_a_budget(api: Api) -> None:
    digits = "[1,2,3,4,5,6,7,8,9,0]"
    loop = f"{digits}.all(a, {digits}.all(b, {digits}.all(c, {digits}.all(d, a + b + c + d >= 0))))"
    variables = [{"name": "slow", "expression": loop}]
    rules = [loop.replace(">= 0", f">= {-count}") for count in range(180)]
    await put_in_force(api, validating("p", *rules, "variables.slow", variables=variables, match=DEPLOYMENTS_RULE))
    answer = await api.create(DEPLOYMENTS, deployment("a"))
    assert (
        said(answer) == "validation failed due to running out of cost budget, no further validation rules will be run"
    )
    assert answer.code == 422


async def test_nobody_escapes_a_refusal_by_being_costly(api: Api) -> None:
    digits = "[1,2,3,4,5,6,7,8,9,0]"
    loop = f"{digits}.all(a, {digits}.all(b, {digits}.all(c, {digits}.all(d, a + b + c + d >= 0))))"
    rules = [{"expression": "false", "message": "no"}, *(loop.replace(">= 0", f">= {-count}") for count in range(180))]
    await put_in_force(api, validating("p", *rules, failurePolicy="Ignore"))
    assert said(await api.create(CONFIGMAPS, configmap("a"))) == "no"


async def test_failures_are_ignored_where_the_policy_says_so(api: Api) -> None:
    policy = validating("p", "object.no == 1", "object.data.a == 'b'", failurePolicy="Ignore")
    await put_in_force(api, policy)
    await expect(api, CONFIGMAPS, configmap("a", a="b"), 201)
    assert said(await api.create(CONFIGMAPS, configmap("b", a="c"))) == "failed expression: object.data.a == 'b'"


async def test_bindings_decide_between_refusing_warning_and_noting(api: Api) -> None:
    await put_in_force(api, validating("p", {"expression": "false", "message": "no"}), {"validationActions": ["Warn"]})
    answer = await expect(api, CONFIGMAPS, configmap("a"), 201)
    text = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p-0': no"
    assert answer.headers["Warning"] == f'299 - "{text}"'
    await put_in_force(api, validating("q", {"expression": "false"}), {"validationActions": ["Audit"]})
    await expect(api, CONFIGMAPS, configmap("b"), 201)


async def test_a_policy_without_a_binding_does_nothing(api: Api) -> None:
    await expect(api, VALIDATING[1], validating("p", "false"), 201)
    await api.get(VALIDATING[1] + "/p")
    await expect(api, CONFIGMAPS, configmap("a"), 201)


async def test_match_conditions_come_first(api: Api) -> None:
    conditions = [{"name": "not-system", "expression": "!request.userInfo.username.startsWith('kubernetes-')"}]
    await put_in_force(api, validating("p", "false", matchConditions=conditions))
    await expect(api, CONFIGMAPS, configmap("a"), 201)
    await put_in_force(api, validating("q", "true", matchConditions=[{"name": "a", "expression": "object.no == 1"}]))
    answer = await api.create(CONFIGMAPS, configmap("b"))
    assert said(answer) == "expression 'object.no == 1' resulted in error: no such key: no"


async def test_namespaces_and_objects_are_selected_by_the_policy_and_by_the_binding(api: Api) -> None:
    await expect(api, NAMESPACES, {"metadata": {"name": "prod", "labels": {"stage": "prod"}}}, 201)
    there = "/api/v1/namespaces/prod/configmaps"
    match = {"resourceRules": [CONFIGMAPS_RULE], "objectSelector": {"matchLabels": {"checked": "yes"}}}
    binding = {"matchResources": {"namespaceSelector": {"matchLabels": {"stage": "prod"}}}}
    await put_in_force(api, validating("p", "false", matchConstraints=match), binding)
    checked = {"checked": "yes"}
    assert (await api.create(there, configmap("a", checked))).code == 422
    await expect(api, there, configmap("b"), 201)
    await expect(api, CONFIGMAPS, configmap("c", checked), 201)


async def test_excluded_resources_and_names_are_left_alone(api: Api) -> None:
    everything = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["*"]}
    match = {"resourceRules": [everything], "excludeResourceRules": [{**CONFIGMAPS_RULE, "resourceNames": ["free"]}]}
    await put_in_force(api, validating("p", "false", matchConstraints=match))
    await expect(api, CONFIGMAPS, configmap("free"), 201)
    assert (await api.create(CONFIGMAPS, configmap("other"))).code == 422
    # Otherwise nobody could ever take it back.
    await expect(api, VALIDATING[1], validating("q", "false"), 201)
    assert (await api.delete(f"{GROUP}/validatingadmissionpolicybindings/p-0")).code == 200
    await api.get(f"{GROUP}/validatingadmissionpolicies/p")
    await expect(api, CONFIGMAPS, configmap("other"), 201)


async def test_another_version_of_a_resource_matches_unless_the_policy_is_exact(api: Api) -> None:
    events = {"apiGroups": ["events.k8s.io"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["events"]}
    match = {"resourceRules": [events]}
    rule = {"expression": "object.apiVersion != 'events.k8s.io/v1'", "messageExpression": "'note: ' + object.note"}
    await put_in_force(api, validating("p", rule, matchConstraints=match))
    event = {
        "metadata": {"name": "e"}, "message": "hello", "reason": "r", "type": "Normal",
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
    }  # fmt: skip
    path = "/api/v1/namespaces/default/events"
    assert said(await api.create(path, event)) == "note: hello"
    assert (await api.patch(f"{VALIDATING[1]}/p", {"spec": {"matchConstraints": {"matchPolicy": "Exact"}}})).code == 200
    await api.get(f"{VALIDATING[1]}/p")
    await expect(api, path, event, 201)


PARAM_KIND = {"apiVersion": "v1", "kind": "ConfigMap"}
LIMIT = {
    "expression": "object.spec.replicas <= int(params.data.most)",
    "messageExpression": "'most: ' + params.data.most",
}


def limited(name: str = "limit") -> dict[str, Any]:
    return validating(name, LIMIT, match=DEPLOYMENTS_RULE, paramKind=PARAM_KIND)


def reference(**more: Any) -> dict[str, Any]:
    return {"paramRef": {"parameterNotFoundAction": "Deny", **more}}


async def test_parameters_are_found_by_name_and_every_change_counts_at_once(api: Api) -> None:
    await put_in_force(api, limited(), reference(name="limits", namespace="default"))
    answer = await api.create(DEPLOYMENTS, deployment("a", 3))
    missing = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    assert said(answer) == missing
    await expect(api, CONFIGMAPS, configmap("limits", most="2"), 201)
    assert said(await api.create(DEPLOYMENTS, deployment("a", 3))) == "most: 2"
    await api.patch(f"{CONFIGMAPS}/limits", {"data": {"most": "3"}})
    await api.get(f"{CONFIGMAPS}/limits")
    await expect(api, DEPLOYMENTS, deployment("a", 3), 201)


async def test_every_selected_parameter_has_its_say(api: Api) -> None:
    selector = {"matchLabels": {"limit": "replicas"}}
    await put_in_force(api, limited(), reference(selector=selector, parameterNotFoundAction="Allow"))
    await expect(api, DEPLOYMENTS, deployment("a", 9), 201)
    for name, most in (("one", "5"), ("two", "3")):
        await expect(api, CONFIGMAPS, configmap(name, {"limit": "replicas"}, most=most), 201)
    await expect(api, CONFIGMAPS, configmap("other", most="0"), 201)
    await api.get(f"{CONFIGMAPS}/other")
    assert said(await api.create(DEPLOYMENTS, deployment("b", 4))) == "most: 3"
    await expect(api, DEPLOYMENTS, deployment("b", 3), 201)


async def test_parameters_are_taken_from_the_namespace_of_the_request(api: Api) -> None:
    await expect(api, NAMESPACES, {"metadata": {"name": "other"}}, 201)
    await expect(api, CONFIGMAPS, configmap("limits", most="2"), 201)
    await expect(api, "/api/v1/namespaces/other/configmaps", configmap("limits", most="4"), 201)
    await put_in_force(api, limited(), reference(name="limits"))
    there = "/apis/apps/v1/namespaces/other/deployments"
    assert said(await api.create(DEPLOYMENTS, deployment("a", 3))) == "most: 2"
    await expect(api, there, deployment("a", 3), 201)
    assert said(await api.create(there, deployment("b", 5))) == "most: 4"


async def test_parameters_that_cannot_be_found_are_a_mistake_of_the_policy_or_binding(api: Api) -> None:
    unknown = validating("p", "true", paramKind={"apiVersion": "example.com/v1", "kind": "Limit"})
    await put_in_force(api, unknown, reference(name="a"))
    answer = await api.create(CONFIGMAPS, configmap("a"))
    assert answer.body["message"] == (
        "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: "
        "failed to find resource referenced by paramKind: 'example.com/v1, Kind=Limit'"
    )
    await api.delete(f"{VALIDATING[1]}/p")
    nodes = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["nodes"]}
    await put_in_force(api, validating("q", "true", match=nodes, paramKind=PARAM_KIND), reference(name="a"))
    assert said(await api.create("/api/v1/nodes", {"metadata": {"name": "n"}})) == (
        "failed to configure binding: cannot use namespaced paramRef in policy binding that matches cluster-scoped "
        "resources"
    )
    cluster = validating("r", "true", paramKind={"apiVersion": "v1", "kind": "Node"})
    await put_in_force(api, cluster, reference(name="a", namespace="default"))
    assert said(await api.create(CONFIGMAPS, configmap("a"))) == (
        "failed to configure binding: paramRef.namespace must not be provided for a cluster-scoped `paramKind`"
    )


async def test_a_binding_without_parameters_sees_null(api: Api) -> None:
    await put_in_force(api, validating("p", "params == null", paramKind=PARAM_KIND))
    await expect(api, CONFIGMAPS, configmap("a"), 201)


async def test_expressions_see_the_request_its_namespace_and_what_its_user_may_do(api: Api) -> None:
    rules = [
        "request.operation == 'CREATE' && request.kind.kind == 'ConfigMap'",
        "request.resource.resource == 'configmaps' && request.requestKind.version == 'v1'",
        "request.namespace == 'default' && request.name == 'a' && request.dryRun == false",
        "request.userInfo.username == 'kubernetes-admin' && 'system:masters' in request.userInfo.groups",
        "namespaceObject.metadata.name == 'default' && namespaceObject.status.phase == 'Active'",
        "authorizer.group('').resource('secrets').namespace('default').check('get').allowed()",
        "authorizer.requestResource.check('delete').allowed()",
        "oldObject == null && object.data.a == 'b'",
        "request.options.kind == 'CreateOptions'",
    ]
    await put_in_force(api, validating("p", *rules))
    await expect(api, CONFIGMAPS, configmap("a", a="b"), 201)


async def test_deletes_and_streams_are_judged_as_well(api: Api) -> None:
    rule = {**CONFIGMAPS_RULE, "operations": ["DELETE"]}
    await put_in_force(api, validating("p", "object == null && oldObject.data.a != 'keep'", match=rule))
    for name, value in (("a", "keep"), ("b", "drop")):
        await expect(api, CONFIGMAPS, configmap(name, a=value), 201)
    assert (await api.delete(f"{CONFIGMAPS}/a")).code == 422
    assert (await api.delete(f"{CONFIGMAPS}/b")).code == 200
    streams = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CONNECT"], "resources": ["pods/exec"]}
    await put_in_force(api, validating("q", "!('sh' in object.command)", match=streams))
    await expect(api, PODS, pod("x"), 201)
    answer = await api.get(f"{PODS}/x/exec?command=sh&stdout=true")
    assert said(answer) == "failed expression: !('sh' in object.command)"


async def test_subresources_are_judged_as_what_they_are(api: Api) -> None:
    scale = {
        "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments/scale"],
    }  # fmt: skip
    await put_in_force(api, validating("p", "object.kind == 'Scale' && object.spec.replicas < 5", match=scale))
    await expect(api, DEPLOYMENTS, deployment("a"), 201)
    path = f"{DEPLOYMENTS}/a/scale"
    assert (await api.patch(path, {"spec": {"replicas": 4}})).code == 200
    assert (await api.patch(path, {"spec": {"replicas": 5}})).code == 422
    assert (await api.patch(f"{DEPLOYMENTS}/a", {"spec": {"replicas": 6}})).code == 200


async def test_a_policy_that_goes_while_requests_run_lets_each_of_them_through_or_not(api: Api) -> None:
    await put_in_force(api, validating("p", "object.data.a == 'b'"))

    async def write(count: int) -> int:
        code = (await api.create(CONFIGMAPS, configmap(f"c{count}", a="x"))).code
        assert code in (201, 422)
        return code

    async def come_and_go() -> None:
        for _ in range(5):
            assert (await api.delete(f"{VALIDATING[1]}/p")).code == 200
            await expect(api, VALIDATING[1], validating("p", "object.data.a == 'b'"), 201)
        assert (await api.delete(f"{VALIDATING[1]}/p")).code == 200
        await api.get(f"{VALIDATING[1]}/p")

    _, *codes = await asyncio.gather(come_and_go(), *(write(count) for count in range(60)))
    assert set(codes) <= {201, 422}
    await expect(api, CONFIGMAPS, configmap("last", a="x"), 201)


async def test_others_get_their_turn_while_a_costly_policy_is_judged(api: Api) -> None:
    digits = "[1,2,3,4,5,6,7,8,9,0]"
    loop = f"{digits}.all(a, {digits}.all(b, {digits}.all(c, {digits}.all(d, a + b + c + d >= 0))))"
    await put_in_force(api, validating("p", *(loop.replace(">= 0", f">= {-count}") for count in range(40))))
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    async with asyncio.timeout(60):
        # The server runs on this loop; whatever it does without giving way is one turn.
        before = turns
        await expect(api, CONFIGMAPS, configmap("a"), 201)
    counting.cancel()
    assert turns - before > 40


def test_annotations_of_the_audit_event_say_what_was_noted() -> None:
    attributes = Attributes(
        "CREATE", CONFIGMAPS_RESOURCE, "", "default", "a", {}, None, User("u"), kind_of(CONFIGMAPS_RESOURCE)
    )  # fmt: skip
    hooks: Any = type("Policy", (), {"name": "p.example.com"})()
    binding = Binding("b", Criteria({}, rules="resourceRules"), None, ("Audit", "Warn"))
    outcome = Outcome(
        [Denial(1, "no", "Invalid"), Denial(2, "never", "Invalid")],
        [("count", "3"), ("count", "4"), ("long", "é" * 9000)],
    )
    notes = Notes(attributes)
    assert settle(hooks, binding, outcome, attributes, notes, PolicyMeasures()) == []
    broken = Outcome(annotations=[("count", "3")], broken_annotations=["x"])
    assert len(settle(hooks, binding, broken, attributes, notes, PolicyMeasures())) == 1
    notes.publish()
    assert orjson.loads(attributes.annotations["validation.policy.admission.k8s.io/validation_failure"]) == [{
        "message": "no", "policy": "p.example.com", "binding": "b", "expressionIndex": 1,
        "validationActions": ["Audit", "Warn"],
    }]  # fmt: skip
    assert attributes.annotations["p.example.com/count"] == "3, 4"
    assert len(attributes.annotations["p.example.com/long"].encode()) == 10 * 1024
    assert attributes.warnings == [
        f"Validation failed for ValidatingAdmissionPolicy 'p.example.com' with binding 'b': {text}"
        for text in ("no", "never")
    ]


async def test_what_policies_decide_is_counted(api: Api) -> None:
    broken = validating("b.example.com", "object.no == 1", failurePolicy="Ignore")
    await put_in_force(api, validating("p.example.com", "false"), {}, {"validationActions": ["Warn", "Audit"]})
    await put_in_force(api, broken)
    await put_in_force(api, mutating("m.example.com", "Object{data: {'a': 'b'}}"))
    assert (await api.create(CONFIGMAPS, configmap("a"))).code == 422
    lines = (await api.get("/metrics")).body.splitlines()
    checks = {line for line in lines if "admission_policy_check_total{" in line}
    name = "apiserver_validating_admission_policy_check_total"
    assert checks == {
        f'{name}{{enforcement_action="allow",error_type="invalid_error",policy="b.example.com",'
        'policy_binding="b.example.com-0"} 1.0',
        *(
            f'{name}{{enforcement_action="{action}",error_type="no_error",policy="p.example.com",'
            f'policy_binding="p.example.com-{count}"}} 1.0'
            for action, count in (("deny", 0), ("warn", 1), ("audit", 1))
        ),
        'apiserver_mutating_admission_policy_check_total{error_type="no_error",policy="m.example.com",'
        'policy_binding="m.example.com-0"} 1.0',
    }


async def test_others_are_answered_while_long_expressions_are_compiled(api: Api) -> None:
    rules = [f"[{','.join(['1 + 2'] * 2000)}].size() > {count}" for count in range(2)]
    writing = asyncio.create_task(put_in_force(api, validating("p", *rules)))
    answered = 0
    while not writing.done():
        assert (await api.get("/api/v1/namespaces/default")).code == 200
        answered += 1
    await writing
    creating = asyncio.create_task(api.create(CONFIGMAPS, configmap("a")))
    while not creating.done():
        assert (await api.get("/api/v1/namespaces/default")).code == 200
        answered += 1
    assert (await creating).code == 201
    # On the server's own thread, nobody would have been answered in between.
    assert answered > 10
