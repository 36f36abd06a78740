"""Aggregated ClusterRoles on a real server, which lets nobody grant what he has not: but the controller may."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes.dynamic import DynamicClient, exceptions
from tests.conformance.objects import wait_until


@pytest.fixture
def roles(dynamic: DynamicClient) -> Iterator[Any]:
    resource = dynamic.resources.get(api_version="rbac.authorization.k8s.io/v1", kind="ClusterRole")
    yield resource
    for name in ("test-sum", "test-part"):
        with contextlib.suppress(exceptions.NotFoundError):
            resource.delete(name=name)


def test_a_role_is_the_sum_of_those_that_it_selects(roles: Any) -> None:
    selector = {"matchLabels": {"test-to": "sum"}}
    roles.create(body={"metadata": {"name": "test-sum"}, "aggregationRule": {"clusterRoleSelectors": [selector]}})
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    roles.create(body={"metadata": {"name": "test-part", "labels": {"test-to": "sum"}}, "rules": [rule]})
    wait_until(lambda: (roles.get(name="test-sum").to_dict().get("rules") or []) == [rule])
    roles.delete(name="test-part")
    wait_until(lambda: not roles.get(name="test-sum").to_dict().get("rules"))
