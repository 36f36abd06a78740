"""Storage that is deleted while it is used stays until it is not, and goes then."""

from __future__ import annotations

from typing import Any

from tests.controllers.cluster import Cluster, scenario
from tests.controllers.storage import claim, create, volume

from kontinuum.api.kubernetes.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, VOLUMEATTRIBUTESCLASSES
from kontinuum.api.machinery.objects import name_of
from kontinuum.api.machinery.resources import Resource


def held(name: str, finalizer: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default", "finalizers": [f"kubernetes.io/{finalizer}"]}, **more}


def user(claim: str) -> dict[str, Any]:
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
    containers = [{"name": "main", "image": "nginx"}]
    return {"metadata": {"name": "p", "namespace": "default"}, "spec": {"containers": containers, "volumes": volumes}}


def names(cluster: Cluster, resource: Resource) -> list[str]:
    return [name_of(one) for one in cluster.everything(resource)]


def test_a_claim_outlives_the_pod_that_uses_it() -> None:
    async def main(cluster: Cluster) -> None:
        for name in ("used", "idle"):
            await cluster.client.create(PERSISTENTVOLUMECLAIMS, held(name, "pvc-protection", spec={}))
        await cluster.client.create(PODS, user("used"))
        await cluster.settle()
        for name in ("used", "idle"):
            await cluster.client.delete(PERSISTENTVOLUMECLAIMS, name, namespace="default")
        await cluster.settle()
        assert names(cluster, PERSISTENTVOLUMECLAIMS) == ["used"]
        await cluster.client.delete(PODS, "p", namespace="default")
        await cluster.settle(10)
        assert names(cluster, PERSISTENTVOLUMECLAIMS) == []

    scenario(main)


def test_a_pod_that_has_no_node_does_not_hold_a_claim() -> None:
    async def main(cluster: Cluster) -> None:
        cluster.nodes.names = ()
        cluster.node_faults.down = True
        await cluster.client.create(PERSISTENTVOLUMECLAIMS, held("c", "pvc-protection", spec={}))
        await cluster.client.create(PODS, user("c"))
        await cluster.client.delete(PERSISTENTVOLUMECLAIMS, "c", namespace="default")
        await cluster.settle()
        assert names(cluster, PERSISTENTVOLUMECLAIMS) == []

    scenario(main)


def test_a_bound_volume_stays_until_it_is_released() -> None:
    async def main(cluster: Cluster) -> None:
        held_volume = volume("v")
        held_volume["metadata"]["finalizers"] = ["kubernetes.io/pv-protection"]
        await create(cluster, held_volume, claim("c"))
        await cluster.settle(5)
        await cluster.client.delete(PERSISTENTVOLUMES, "v")
        await cluster.settle()
        assert names(cluster, PERSISTENTVOLUMES) == ["v"]
        await cluster.client.delete(PERSISTENTVOLUMECLAIMS, "c", namespace="default")
        await cluster.settle(10)
        assert names(cluster, PERSISTENTVOLUMES) == []

    scenario(main)


def test_an_attributes_class_stays_while_a_claim_has_it() -> None:
    async def main(cluster: Cluster) -> None:
        attributes_class = held("gold", "vac-protection")
        del attributes_class["metadata"]["namespace"]
        await cluster.client.create(VOLUMEATTRIBUTESCLASSES, attributes_class)
        claim = held("c", "pvc-protection", spec={"volumeAttributesClassName": "gold"})
        await cluster.client.create(PERSISTENTVOLUMECLAIMS, claim)
        await cluster.client.delete(VOLUMEATTRIBUTESCLASSES, "gold")
        await cluster.settle()
        assert names(cluster, VOLUMEATTRIBUTESCLASSES) == ["gold"]
        await cluster.client.delete(PERSISTENTVOLUMECLAIMS, "c", namespace="default")
        await cluster.settle()
        assert names(cluster, VOLUMEATTRIBUTESCLASSES) == []

    scenario(main)
