"""Ephemeral volumes have claims of their own; claims that grow say who is waited for."""

from __future__ import annotations

from tests.controllers.cluster import Cluster, scenario
from tests.controllers.storage import bindings, claim, create, events, get_claim, volume

from kontinuum.api.kubernetes.resources import PERSISTENTVOLUMECLAIMS, PODS
from kontinuum.api.machinery.objects import Object, name_of


def pod(name: str) -> Object:
    """A pod with an ephemeral volume."""
    template = {
        "metadata": {"labels": {"disk": "scratch"}, "annotations": {"why": "test"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    volumes = [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]
    spec = {"containers": [{"name": "main", "image": "i"}], "volumes": volumes}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def claims(cluster: Cluster) -> list[str]:
    return [name_of(one) for one in cluster.everything(PERSISTENTVOLUMECLAIMS)]


def test_an_ephemeral_volume_has_a_claim_that_begins_and_ends_with_its_pod() -> None:
    async def main(cluster: Cluster) -> None:
        made = await cluster.client.create(PODS, pod("p"))
        await cluster.settle(5)
        own = get_claim(cluster, "p-scratch")
        assert own["metadata"]["labels"] == {"disk": "scratch"}
        assert own["metadata"]["annotations"]["why"] == "test"
        [owner] = own["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("Pod", made["metadata"]["uid"], True)
        assert own["spec"]["resources"] == {"requests": {"storage": "1Gi"}}
        # One that somebody deletes is there again.
        await cluster.client.delete(PERSISTENTVOLUMECLAIMS, "p-scratch", namespace="default")
        await cluster.settle(5)
        assert claims(cluster) == ["p-scratch"]
        await cluster.client.delete(PODS, "p", namespace="default")
        await cluster.settle(60)
        assert claims(cluster) == []

    scenario(main)


def test_a_claim_of_that_name_that_is_not_the_pods_is_left_alone() -> None:
    async def main(cluster: Cluster) -> None:
        before = await cluster.client.create(PERSISTENTVOLUMECLAIMS, claim("p-scratch"))
        await cluster.client.create(PODS, pod("p"))
        await cluster.settle(30)
        assert get_claim(cluster, "p-scratch")["metadata"]["uid"] == before["metadata"]["uid"]
        assert events(cluster, "p", kind="Pod") == [
            "Warning FailedBinding: ephemeral volume scratch: "
            "PVC default/p-scratch was not created for pod default/p (pod is not owner)"
        ]
        # Once it is out of the way the pod gets its own.
        await cluster.client.delete(PERSISTENTVOLUMECLAIMS, "p-scratch", namespace="default")
        await cluster.settle(30)
        assert get_claim(cluster, "p-scratch")["metadata"]["ownerReferences"][0]["name"] == "p"

    scenario(main)


def test_a_claim_that_grows_waits_for_its_driver() -> None:
    async def main(cluster: Cluster) -> None:
        await create(cluster, volume("v"), claim("c"))
        await cluster.settle(5)
        assert bindings(cluster) == {"c": "v"}
        patch = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
        await cluster.client.patch(PERSISTENTVOLUMECLAIMS, "c", patch, namespace="default")
        await cluster.settle(5)
        assert events(cluster, "c") == [
            "Normal ExternalExpanding: waiting for an external controller to expand this PVC"
        ]
        status = get_claim(cluster, "c")["status"]
        assert status["capacity"] == {"storage": "1Gi"}
        # The driver's resizer says what it has done, and nobody takes it back.
        await cluster.client.patch(
            PERSISTENTVOLUMECLAIMS, "c", {"status": {"capacity": {"storage": "2Gi"}}}, namespace="default",
            subresource="status",
        )  # fmt: skip
        await cluster.settle(700)
        assert get_claim(cluster, "c")["status"]["capacity"] == {"storage": "2Gi"}

    scenario(main)
