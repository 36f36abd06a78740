"""Ranges of addresses and claims of devices on a real server; controllers have no more rights than they need."""

from __future__ import annotations

from kubernetes.dynamic import DynamicClient
from tests.conformance.objects import Objects, pod, wait_until

from kontinuum.api.machinery.conditions import is_true


def test_a_range_becomes_ready(dynamic: DynamicClient) -> None:
    ranges = dynamic.resources.get(api_version="networking.k8s.io/v1", kind="ServiceCIDR")
    ranges.create(body={"metadata": {"name": "test-range"}, "spec": {"cidrs": ["10.77.0.0/24"]}})
    wait_until(lambda: is_true(ranges.get(name="test-range").to_dict(), "Ready"))
    assert ranges.get(name="test-range").to_dict()["metadata"]["finalizers"]
    ranges.delete(name="test-range")


def test_a_pod_gets_the_claim_that_it_asks_for(dynamic: DynamicClient, namespace: str) -> None:
    version = "resource.k8s.io/v1"
    request = {"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com"}}
    templates = Objects(dynamic, version, "ResourceClaimTemplate", namespace)
    templates.create({"metadata": {"name": "gpus"}, "spec": {"spec": {"devices": {"requests": [request]}}}})
    pods, claims = Objects(dynamic, "v1", "Pod", namespace), Objects(dynamic, version, "ResourceClaim", namespace)
    body = pod("asks")
    body["spec"]["resourceClaims"] = [{"name": "gpu", "resourceClaimTemplateName": "gpus"}]
    pods.create(body)
    wait_until(lambda: bool((pods.get("asks").get("status") or {}).get("resourceClaimStatuses")))
    [named] = pods.get("asks")["status"]["resourceClaimStatuses"]
    assert [one["metadata"]["name"] for one in claims.list()] == [named["resourceClaimName"]]
    pods.delete("asks")
    wait_until(lambda: not claims.list())
