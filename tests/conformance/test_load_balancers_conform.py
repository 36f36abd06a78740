"""Addresses of Services and networks of nodes on a real server; controllers have no more rights than they need."""

from __future__ import annotations

import contextlib
from typing import Any

from kubernetes.dynamic import DynamicClient, exceptions
from tests.conformance.objects import Objects, wait_until


def ingress(services: Objects, name: str) -> list[Any]:
    return (services.get(name)["status"].get("loadBalancer") or {}).get("ingress") or []


def test_a_service_gets_an_address_of_the_pool_and_gives_it_back(dynamic: DynamicClient, namespace: str) -> None:
    services = Objects(dynamic, "v1", "Service", namespace)
    spec = {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80}]}
    services.create({"metadata": {"name": "web"}, "spec": spec})
    wait_until(lambda: len(ingress(services, "web")) == 1)
    [given] = ingress(services, "web")
    assert given["ip"].startswith("192.0.2.") and given["ipMode"] == "VIP"
    services.patch("web", {"spec": {"type": "ClusterIP"}})
    wait_until(lambda: not ingress(services, "web") and not services.get("web")["metadata"].get("finalizers"))
    services.patch("web", {"spec": {"type": "LoadBalancer"}})
    wait_until(lambda: len(ingress(services, "web")) == 1)
    services.delete("web")
    wait_until(lambda: services.is_gone("web"))


def test_a_node_gets_a_network(dynamic: DynamicClient) -> None:
    nodes = dynamic.resources.get(api_version="v1", kind="Node")
    nodes.create(body={"metadata": {"name": "test-network"}})
    try:
        wait_until(lambda: bool(nodes.get(name="test-network").to_dict()["spec"].get("podCIDRs")))
        spec = nodes.get(name="test-network").to_dict()["spec"]
        assert spec["podCIDRs"] == [spec["podCIDR"]] and spec["podCIDR"].endswith(".0/24")
    finally:
        with contextlib.suppress(exceptions.NotFoundError):
            nodes.delete(name="test-network")
