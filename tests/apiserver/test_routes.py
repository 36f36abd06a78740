"""Paths and methods: what they name, and that every resource's own path leads back to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.api.kubernetes.resources import NAMESPACES, PODS, RESOURCES
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.routes import Route, RouteTable

TABLE = RouteTable(RESOURCES)


@given(resource=st.sampled_from(RESOURCES), namespace=st.sampled_from(["", "default"]), data=st.data())
def test_every_path_of_a_resource_leads_back_to_it(resource: Resource, namespace: str, data: st.DataObject) -> None:
    namespace = namespace if resource.namespaced else ""
    name = data.draw(st.sampled_from(["", "x"])) if namespace or not resource.namespaced else ""
    subresource = data.draw(st.sampled_from(["", *resource.subresources])) if name else ""
    path = resource.path(namespace, name, subresource)
    assert TABLE.find(path) == Route(resource, namespace, name, subresource)


@given(st.text(alphabet="/apis v1%2Fpodsnamespaces.", max_size=60))
def test_no_path_breaks_the_table(path: str) -> None:
    route = TABLE.find("/" + path)
    assert route is None or route.resource in RESOURCES


def test_a_namespaces_own_subresources_are_not_resources_in_it() -> None:
    assert TABLE.find("/api/v1/namespaces/team/status") == Route(NAMESPACES, "", "team", "status")
    assert TABLE.find("/api/v1/namespaces/team/pods") == Route(PODS, "team")


@pytest.mark.parametrize(
    ("method", "name", "watch", "verb"),
    [
        ("GET", "", False, "list"), ("GET", "", True, "watch"), ("GET", "x", False, "get"), ("HEAD", "x", False, "get"),
        ("POST", "", False, "create"), ("PUT", "x", False, "update"), ("PATCH", "x", False, "patch"),
        ("DELETE", "x", False, "delete"), ("DELETE", "", False, "deletecollection"),
    ],
)  # fmt: skip
def test_methods_are_kubernetes_verbs(method: str, name: str, watch: bool, verb: str) -> None:
    assert Route(PODS, "default", name).verb(method, watch=watch) == verb


@pytest.mark.parametrize(("method", "name"), [("PUT", ""), ("PATCH", ""), ("POST", "x"), ("TRACE", "x")])
def test_methods_that_mean_nothing_are_not_allowed(method: str, name: str) -> None:
    with pytest.raises(ApiError) as refused:
        Route(PODS, "default", name).verb(method)
    assert refused.value.code == 405
