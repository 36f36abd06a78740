"""Endpoints tell of a Service's pods in the older form; those kept by hand are mirrored into slices."""

from __future__ import annotations

from typing import Any

import pytest
from tests.controllers.cluster import Cluster, deployment, scenario
from tests.controllers.test_endpoint_slices import pod, service

from kontinuum.api.kubernetes.resources import DEPLOYMENTS, ENDPOINTS, ENDPOINTSLICES, SERVICES
from kontinuum.api.machinery.objects import Object, annotations_of, labels_of
from kontinuum.controllers.lib.endpoints import ports_of
from kontinuum.controllers.reconcilers.endpoints import MOST, OVER_CAPACITY, subsets, wanted


def found(cluster: Cluster, name: str = "web") -> Object | None:
    return cluster.api.storage.get(ENDPOINTS, f"default/{name}")


def told(cluster: Cluster) -> list[Object]:
    return cluster.everything(ENDPOINTSLICES)


def test_pods_are_told_by_their_ports_and_by_whether_they_are_ready() -> None:
    named = service(ports=[{"name": "http", "port": 80, "targetPort": "web"}])
    offering = [{"ports": [{"name": "web", "containerPort": 8080}]}]
    other = [{"ports": [{"name": "web", "containerPort": 99}]}]
    pods = [pod(1, containers=offering), pod(2, containers=offering, ready=False), pod(3, containers=other), pod(4)]
    first, second = subsets(named, pods)[0]
    assert [one["ip"] for one in first["addresses"]] == ["10.1.0.2"]
    assert [one["ip"] for one in first["notReadyAddresses"]] == ["10.1.0.3"]
    assert first["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert (second["addresses"][0]["ip"], second["ports"][0]["port"]) == ("10.1.0.4", 99)


def test_a_port_without_a_name_is_told_as_kubernetes_tells_it_in_either_form() -> None:
    plain, pods = service(ports=[{"port": 80, "targetPort": 8080}]), [pod(1)]
    assert subsets(plain, pods)[0][0]["ports"] == [{"port": 8080, "protocol": "TCP"}]
    assert ports_of(plain, pods[0]) == [{"name": "", "port": 8080, "protocol": "TCP"}]


def test_too_many_are_cut_off_and_that_is_said() -> None:
    made = wanted(service(), [pod(number) for number in range(MOST + 5)], None)
    assert len(made["subsets"][0]["addresses"]) == MOST
    assert annotations_of(made)[OVER_CAPACITY] == "truncated"


@pytest.mark.behaviour("EndpointsController should create Endpoints for Pods matching a Service")
@pytest.mark.behaviour("EndpointSlice should create Endpoints and EndpointSlices for Pods matching a Service")
def test_both_forms_follow_the_pods_of_a_service() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(SERVICES, service())
        await cluster.client.create(DEPLOYMENTS, deployment(replicas=2))
        await cluster.settle(20)
        addresses = sorted(one["status"]["podIP"] for one in cluster.ready_pods())
        endpoints = found(cluster)
        assert endpoints is not None
        [subset] = endpoints["subsets"]
        assert [one["ip"] for one in subset["addresses"]] == addresses
        [one] = told(cluster)
        assert sorted(each["addresses"][0] for each in one["endpoints"]) == addresses
        assert one["ports"] == subset["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
        await cluster.patch({"replicas": 0})
        await cluster.settle(20)
        assert "subsets" not in (found(cluster) or {}) and told(cluster)[0]["endpoints"] == []

    scenario(main)


@pytest.mark.behaviour(
    "EndpointSlice should create and delete EndpointSlices for a Service with a selector that matches no pods"
)
@pytest.mark.behaviour(
    "EndpointsController should create and delete Endpoints for a Service with a selector that matches no pods"
)
def test_a_service_without_pods_is_told_of_and_taken_back() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(SERVICES, service())
        await cluster.settle(5)
        assert found(cluster) is not None and len(told(cluster)) == 1
        await cluster.client.delete(SERVICES, "web", namespace="default")
        await cluster.settle(30)
        assert found(cluster) is None and told(cluster) == []

    scenario(main)


@pytest.mark.behaviour(
    "EndpointSliceMirroring should mirror a custom Endpoints resource through create update and delete"
)
def test_endpoints_kept_by_hand_are_mirrored() -> None:
    async def main(cluster: Cluster) -> None:
        by_hand: dict[str, Any] = {"metadata": {"name": "db", "namespace": "default"}}
        plain = {"ports": [{"port": 5432, "protocol": "TCP"}], "clusterIP": "10.0.0.7"}
        await cluster.client.create(SERVICES, {**by_hand, "spec": plain})
        subset = {"addresses": [{"ip": "192.0.2.1"}], "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}]}
        await cluster.client.create(ENDPOINTS, {**by_hand, "subsets": [subset]})
        await cluster.settle(5)
        [one] = told(cluster)
        assert one["endpoints"] == [{"addresses": ["192.0.2.1"], "conditions": {"ready": True}}]
        assert one["ports"] == [{"name": "sql", "port": 5432, "protocol": "TCP"}]
        managed = labels_of(one)["endpointslice.kubernetes.io/managed-by"]
        assert managed == "endpointslicemirroring-controller.k8s.io"
        assert labels_of(one)["kubernetes.io/service-name"] == "db"
        patch = {"subsets": [{**subset, "addresses": [{"ip": "192.0.2.2"}, {"ip": "2001:db8::1"}]}]}
        await cluster.client.patch(ENDPOINTS, "db", patch, namespace="default")
        await cluster.settle(5)
        assert sorted(one["endpoints"][0]["addresses"][0] for one in told(cluster)) == ["192.0.2.2", "2001:db8::1"]
        await cluster.client.delete(ENDPOINTS, "db", namespace="default")
        await cluster.settle(5)
        assert told(cluster) == []

    scenario(main)


def test_settled_services_are_written_no_more() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(SERVICES, service())
        await cluster.client.create(DEPLOYMENTS, deployment(replicas=2))
        await cluster.settle(30)
        writes = len(cluster.faults.writes)
        await cluster.settle(1300)
        assert [one.path for one in cluster.faults.writes[writes:] if "/leases/" not in one.path] == []

    scenario(main)
