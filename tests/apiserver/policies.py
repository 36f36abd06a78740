"""Admission policies for tests: short ways to write one, to bind it, and to be sure that it is in force."""

from __future__ import annotations

from typing import Any

from tests.apiserver.serving import Answer, Api

GROUP = "/apis/admissionregistration.k8s.io/v1"
VALIDATING = ("ValidatingAdmissionPolicy", f"{GROUP}/validatingadmissionpolicies")
MUTATING = ("MutatingAdmissionPolicy", f"{GROUP}/mutatingadmissionpolicies")
DEPLOYMENTS_RULE = {
    "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"],
}  # fmt: skip
CONFIGMAPS_RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]}


def validating(name: str, *rules: str | dict[str, Any], match: Any = CONFIGMAPS_RULE, **spec: Any) -> dict[str, Any]:
    """A policy with one validation per rule: an expression, or the whole validation."""
    validations = [{"expression": rule} if isinstance(rule, str) else rule for rule in rules]
    whole = {"matchConstraints": {"resourceRules": [match]}, "validations": validations, **spec}
    return {"metadata": {"name": name}, "spec": whole}


def mutating(name: str, *mutations: str, match: Any = CONFIGMAPS_RULE, **spec: Any) -> dict[str, Any]:
    """A policy with one mutation per expression: a list is a JSON patch."""
    whole = {
        "matchConstraints": {"resourceRules": [match]},
        "reinvocationPolicy": "Never",
        "mutations": [
            {"patchType": "JSONPatch", "jsonPatch": {"expression": one}}
            if one.lstrip().startswith("[")
            else {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": one}}
            for one in mutations
        ],
        **spec,
    }
    return {"metadata": {"name": name}, "spec": whole}


async def put_in_force(api: Api, policy: dict[str, Any], *bindings: dict[str, Any]) -> None:
    """Create a policy with the specs of its bindings, by default one that binds it everywhere."""
    is_mutating = "mutations" in policy["spec"]
    kind, path = MUTATING if is_mutating else VALIDATING
    name = policy["metadata"]["name"]
    await expect(api, path, policy, 201)
    for count, spec in enumerate(bindings or ({},)):
        whole = {"policyName": name, **({} if is_mutating else {"validationActions": ["Deny"]}), **spec}
        binding = {"metadata": {"name": f"{name}-{count}"}, "spec": whole}
        await expect(api, f"{GROUP}/{kind.lower()}bindings", binding, 201)
    # Reading waits until the server has taken up what was written before.
    assert (await api.get(f"{path}/{name}")).code == 200


async def expect(api: Api, path: str, body: Any, code: int) -> Answer:
    answer = await api.create(path, body)
    assert answer.code == code, answer.body
    return answer


def said(answer: Answer) -> str:
    """The policy's own words in a refusal."""
    text: str = answer.body["message"]
    return text.partition("denied request: ")[2]
