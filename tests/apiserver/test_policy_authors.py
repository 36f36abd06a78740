"""Who writes a policy or binding must be able to read its parameters: its messages would show them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.people import binding as role_binding
from tests.apiserver.people import role, rule
from tests.apiserver.policies import GROUP, MUTATING, VALIDATING, expect, mutating, validating
from tests.apiserver.serving import Answer, Api

RBAC = "/apis/rbac.authorization.k8s.io/v1"
SECRETS = {"apiVersion": "v1", "kind": "Secret"}
ALICE = {"impersonate_user": "alice", "impersonate_group": "system:authenticated"}


@pytest.fixture
async def author(api: Api) -> Api:
    """Alice may write policies and bindings, and read config maps."""
    plurals = [f"{kind}admissionpolic{end}" for kind in ("validating", "mutating") for end in ("ies", "ybindings")]
    rules = (rule("*", " ".join(plurals), "admissionregistration.k8s.io"), rule("get", "configmaps"))
    await expect(api, f"{RBAC}/clusterroles", role("author", *rules), 201)
    await expect(api, f"{RBAC}/clusterrolebindings", role_binding("author", "ClusterRole", "author", "alice"), 201)
    await api.get(f"{RBAC}/clusterrolebindings/author")
    return api


async def write(api: Api, path: str, body: Any) -> Answer:
    return await api.create(path, body, **ALICE)


async def test_an_author_must_be_able_to_read_all_parameters(author: Api) -> None:
    for (kind, path), policy in ((VALIDATING, validating("p", "true")), (MUTATING, mutating("p", "Object{}"))):
        policy["spec"]["paramKind"] = SECRETS
        answer = await write(author, path, policy)
        assert answer.code == 422
        assert answer.body["message"] == (
            f'{kind}.admissionregistration.k8s.io "p" is invalid: spec.paramKind: Forbidden: user &{{alice  '
            '[system:authenticated] map[]} must have "get" permission on all objects of the referenced paramKind '
            "(kind=Secret, apiVersion=v1)"
        )
        policy["spec"]["paramKind"] = {"apiVersion": "v1", "kind": "ConfigMap"}
        assert (await write(author, path, policy)).code == 201
        # What was there already, whoever has written it, does not stand in the way of other changes.
        assert (await author.patch(f"{path}/p", {"spec": {"paramKind": SECRETS}})).code == 200
        headers = {"content_type": "application/merge-patch+json", **ALICE}
        change = {"metadata": {"labels": {"a": "b"}}}
        assert (await author.call("PATCH", f"{path}/p", change, **headers)).code == 200


async def test_who_binds_must_be_able_to_read_the_parameters_that_are_named(author: Api) -> None:
    policy = validating("p", "true", paramKind=SECRETS)
    await expect(author, VALIDATING[1], policy, 201)
    path = f"{GROUP}/validatingadmissionpolicybindings"

    def bound(own: str, **reference: Any) -> Any:
        whole = {"parameterNotFoundAction": "Deny", **reference}
        spec = {"policyName": "p", "validationActions": ["Deny"], "paramRef": whole}
        return {"metadata": {"name": own}, "spec": spec}

    answer = await write(author, path, bound("a", name="secret", namespace="default"))
    assert answer.code == 422 and 'does not have "get" permission on the object referenced by paramRef' in str(
        answer.body
    )
    secret = role("secret", rule("get", "secrets", names="secret"))
    await expect(author, f"{RBAC}/namespaces/default/roles", secret, 201)
    holder = role_binding("secret", "Role", "secret", "alice")
    await expect(author, f"{RBAC}/namespaces/default/rolebindings", holder, 201)
    await author.get(f"{RBAC}/namespaces/default/rolebindings/secret")
    assert (await write(author, path, bound("a", name="secret", namespace="default"))).code == 201
    assert (await write(author, path, bound("b", name="other", namespace="default"))).code == 422
    assert (await write(author, path, bound("c", selector={}, namespace="default"))).code == 422
    assert (await write(author, path, bound("d", name="secret"))).code == 422


async def test_a_kind_that_nobody_knows_could_be_any(author: Api) -> None:
    unknown = {"apiVersion": "example.com/v1", "kind": "Limit"}
    assert (await write(author, VALIDATING[1], validating("p", "true", paramKind=unknown))).code == 422
    assert (await author.create(VALIDATING[1], validating("p", "true", paramKind=unknown))).code == 201
