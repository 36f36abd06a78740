"""Claims of devices: one for each pod that asks by a template, and only as long as somebody uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.controllers.cluster import Cluster, running, scenario

from kontinuum.api.kubernetes.resources import EVENTS, PODS, RESOURCECLAIMS, RESOURCECLAIMTEMPLATES
from kontinuum.api.machinery.objects import Object, annotations_of, labels_of, name_of
from kontinuum.api.machinery.status import internal_error
from kontinuum.controllers.lib.resource_claims import FINALIZER, POD_CLAIM
from kontinuum.foundation import virtual_time

DEVICES = {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com"}}]}}


def template(name: str = "gpus") -> Object:
    spec = {"metadata": {"labels": {"of": "template"}, "annotations": {"note": "x"}}, "spec": DEVICES}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def pod(name: str = "p", image: str = "image:1", claims: list[Object] | None = None) -> Object:
    asked = [{"name": "gpu", "resourceClaimTemplateName": "gpus"}] if claims is None else claims
    spec = {"containers": [{"name": "main", "image": image}], "restartPolicy": "Never", "resourceClaims": asked}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def claims(cluster: Cluster) -> list[Object]:
    return cluster.everything(RESOURCECLAIMS)


def told(cluster: Cluster) -> list[tuple[str, str]]:
    return [(one["reason"], one["message"]) for one in cluster.everything(EVENTS)
            if one["source"]["component"] == "resource_claim"]  # fmt: skip


async def made_statuses(cluster: Cluster, name: str = "p") -> Any:
    return (await cluster.client.get(PODS, name, namespace="default"))["status"].get("resourceClaimStatuses")


def test_a_pod_gets_a_claim_of_its_own() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(RESOURCECLAIMTEMPLATES, template())
        shared = {"name": "shared", "resourceClaimName": "common"}
        await cluster.client.create(PODS, pod(claims=[{"name": "gpu", "resourceClaimTemplateName": "gpus"}, shared]))
        await cluster.settle(10)
        [claim] = claims(cluster)
        assert claim["spec"] == DEVICES and name_of(claim).startswith("p-gpu-")
        assert labels_of(claim) == {"of": "template"}
        assert annotations_of(claim) == {"note": "x", POD_CLAIM: "gpu"}
        [owner] = claim["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["controller"]) == ("Pod", "p", True)
        assert await made_statuses(cluster) == [{"name": "gpu", "resourceClaimName": name_of(claim)}]
        # One that somebody deletes is made again.
        await cluster.client.delete(RESOURCECLAIMS, name_of(claim), namespace="default")
        await cluster.settle(10)
        [again] = claims(cluster)
        assert await made_statuses(cluster) == [{"name": "gpu", "resourceClaimName": name_of(again)}]

    scenario(main)


def test_a_template_that_is_missing_is_told_and_waited_for() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(PODS, pod())
        await cluster.settle(10)
        problem = 'resource claim template "gpus": resourceclaimtemplates.resource.k8s.io "gpus" not found'
        assert told(cluster) == [("FailedResourceClaimCreation", f"PodResourceClaim gpu: {problem}")]
        await cluster.client.create(RESOURCECLAIMTEMPLATES, template())
        await cluster.settle(400)
        assert len(claims(cluster)) == 1

    scenario(main)


def test_a_claim_of_a_pod_that_is_done_goes_and_one_of_a_dead_user_is_free_again() -> None:
    async def main(cluster: Cluster) -> None:
        cluster.exits["job"] = lambda pod: 0
        await cluster.client.create(RESOURCECLAIMTEMPLATES, template())
        common = {"metadata": {"name": "common", "namespace": "default", "finalizers": [FINALIZER]}, "spec": DEVICES}
        await cluster.client.create(RESOURCECLAIMS, common)
        await cluster.client.create(PODS, pod("user", claims=[{"name": "c", "resourceClaimName": "common"}]))
        user = await cluster.client.get(PODS, "user", namespace="default")
        consumers = [
            {"resource": "pods", "name": "user", "uid": user["metadata"]["uid"]},
            {"resource": "pods", "name": "ghost", "uid": "gone"},
        ]
        held = {"status": {"allocation": {"devices": {}}, "reservedFor": consumers}}
        await cluster.client.patch(RESOURCECLAIMS, "common", held, namespace="default", subresource="status")
        await cluster.client.create(PODS, pod("done", "job"))
        await cluster.settle(60)
        [left] = claims(cluster)
        assert left["status"] == {"allocation": {"devices": {}}, "reservedFor": consumers[:1]}
        await cluster.client.delete(PODS, "user", namespace="default")
        await cluster.settle(60)
        [left] = claims(cluster)
        assert left["status"] == {} and not left["metadata"].get("finalizers")

    scenario(main)


def life(prepare: Callable[[Cluster], None]) -> tuple[int, bool, int]:
    """How many claims two pods have in the end, whether their statuses name them, and the writes."""

    async def main() -> tuple[int, bool, int]:
        async with running() as cluster:
            await cluster.client.create(RESOURCECLAIMTEMPLATES, template())
            await cluster.settle(5)
            prepare(cluster)
            for name in ("a", "b"):
                await cluster.client.create(PODS, pod(name))
            await asyncio.sleep(90)
            named = [(await made_statuses(cluster, one))[0]["resourceClaimName"] for one in "ab"]
            return (
                len(claims(cluster)),
                sorted(named) == sorted(map(name_of, claims(cluster))),
                len(cluster.faults.writes),
            )

    return virtual_time.run(main)


def test_killed_at_any_write_or_with_any_answer_lost_each_pod_has_one_claim() -> None:
    counted: list[int] = []
    *expected, writes = life(lambda cluster: counted.append(len(cluster.faults.writes)))
    assert expected == [2, True]
    for number in range(counted[0] + 1, writes + 1):

        def kill(cluster: Cluster, number: int = number) -> None:
            faults = cluster.faults
            faults.after_write = lambda written, request: cluster.replace_controllers() if written == number else None

        def lose(cluster: Cluster, number: int = number) -> None:
            cluster.faults.lost.add(number)

        def refuse(cluster: Cluster, number: int = number) -> None:
            cluster.faults.errors[number] = internal_error("refused")

        for prepare in (kill, lose, refuse):
            assert [*life(prepare)[:2]] == expected, (number, prepare.__name__)
