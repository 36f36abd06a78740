"""Days of the controllers whose kill points a module of their own searches: here they only meet faults."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Sequence

from tests.controllers import storage
from tests.controllers.cluster import Cluster, deployment
from tests.controllers.days import Day, create, settle_until
from tests.controllers.days_of_keepers import ends, versions
from tests.controllers.source import Source
from tests.controllers.test_autoscalers import OF_QUEUE, QUEUE, autoscaler
from tests.controllers.test_cron_jobs import cron_job
from tests.controllers.test_host_path_volumes import SELECTED, answer
from tests.controllers.test_resource_claims import pod as pod_with_devices
from tests.controllers.test_resource_claims import template
from tests.controllers.test_volumes_are_attached import MANAGED, Storage, user

from kontinuum.api.kontinuum.host_path import NODE_LABEL, ROOT
from kontinuum.api.kubernetes.resources import (
    CRONJOBS,
    DEPLOYMENTS,
    HORIZONTALPODAUTOSCALERS,
    JOBS,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    REPLICASETS,
    RESOURCECLAIMS,
    RESOURCECLAIMTEMPLATES,
)
from kontinuum.api.machinery.objects import name_of, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.transport.fake.storage import Entry


async def rollout(cluster: Cluster) -> None:
    await create(cluster, (DEPLOYMENTS, deployment(replicas=3)), (DEPLOYMENTS, deployment("gone")))
    await cluster.settle(10)
    await cluster.set_image("image:2")
    await cluster.client.delete(DEPLOYMENTS, "gone", namespace="default", propagation="Foreground")
    # A set that is empty already is not told of the new size: the rollout has to be over, whatever was wrong.
    await cluster.settle(90)
    await cluster.patch({"replicas": 5})


def no_rollout_surges_too_far(log: Sequence[Entry]) -> None:
    """What the sets of ``web`` are to have together is at most its replicas and a quarter of them (the default)."""
    wanted, sizes = 0, {}
    for entry in log:
        if entry.new is None or not name_of(entry.new).startswith("web"):
            continue
        if entry.resource is DEPLOYMENTS:
            wanted = entry.new["spec"]["replicas"]
        elif entry.resource is REPLICASETS:
            sizes[uid_of(entry.new)] = entry.new["spec"]["replicas"]
            assert sum(sizes.values()) <= wanted + math.ceil(wanted / 4), "a rollout has more pods than it may"
    assert len(sizes) == 2, "a template has two sets"


async def one_time(cluster: Cluster) -> None:
    """Its time comes once, fifteen seconds after the beginning."""
    cluster.clock.jump(85)
    cluster.exits["work:1"] = lambda pod: 0
    await create(cluster, (CRONJOBS, cron_job("15 22 14 11 *")))


def no_time_starts_two_jobs(log: Sequence[Entry]) -> None:
    assert len({uid_of(one) for one in versions(log, JOBS)}) == 1


async def load(cluster: Cluster) -> None:
    source = Source(cluster)
    source.values[QUEUE] = [{"value": "30"}]
    await create(cluster, (DEPLOYMENTS, deployment(replicas=3)), (HORIZONTALPODAUTOSCALERS, autoscaler(OF_QUEUE)))
    await cluster.settle(10)
    source.values[QUEUE] = [{"value": "60"}]


def nothing_shrinks_or_outgrows_its_load(log: Sequence[Entry]) -> None:
    sizes = [one["spec"]["replicas"] for one in versions(log, DEPLOYMENTS)]
    assert sizes == sorted(sizes) and sizes[-1] == 6


async def devices(cluster: Cluster) -> None:
    await create(cluster, (RESOURCECLAIMTEMPLATES, template()))
    await create(cluster, *((PODS, pod_with_devices(name)) for name in ("stays", "goes", "ends")))
    cluster.exits["image:ends"] = lambda pod: 0
    await create(cluster, (PODS, pod_with_devices("done", image="image:ends")))
    await cluster.settle(30)
    await cluster.client.delete(PODS, "goes", namespace="default")


def no_claim_of_devices_is_taken_from_its_pod(log: Sequence[Entry]) -> None:
    """While its pod is there and runs."""
    for at, gone in ends(log, RESOURCECLAIMS):
        [owner] = gone["metadata"]["ownerReferences"]
        now = {name_of(entry.new or entry.old or {}): entry.new for entry in log[:at] if entry.resource is PODS}
        pod = now.get(owner["name"])
        named = [one.get("resourceClaimName") for one in (pod or {}).get("status", {}).get("resourceClaimStatuses", ())]
        assert name_of(gone) not in named or pod is None or pod["status"]["phase"] == "Succeeded"


async def bound_volumes(cluster: Cluster) -> None:
    """Each claim can have one volume only, whoever is first."""
    claims = {"a": "1Gi", "b": "2Gi", "c": "3Gi"}
    await storage.create(cluster, storage.storage_class("fast", default=True))
    for number, (name, size) in enumerate(claims.items()):
        class_ = f"fast-{number}"
        await storage.create(cluster, storage.volume(f"v{number}", size, storageClassName=class_))
        await storage.create(cluster, storage.claim(name, size, storageClassName=class_))
    reference = {"namespace": "default", "name": "d"}
    await storage.create(cluster, storage.volume("mine", claimRef=reference, storageClassName="fast"))
    await storage.create(cluster, storage.claim("d", storageClassName="fast"))
    await storage.create(cluster, storage.volume("chosen", "4Gi", storageClassName="fast-3"))
    await settle_until(
        cluster, PERSISTENTVOLUMECLAIMS, "a", lambda one: (one.get("status") or {}).get("phase") == "Bound"
    )
    await cluster.client.delete(PERSISTENTVOLUMECLAIMS, "a", namespace="default")
    await storage.create(cluster, storage.claim("e", "4Gi", storageClassName="fast-3", volumeName="chosen"))


def no_volume_changes_hands(log: Sequence[Entry]) -> None:
    volumes: dict[str, str] = {}
    claims: dict[str, str] = {}
    for one in versions(log, PERSISTENTVOLUMECLAIMS):
        if one.get("status", {}).get("phase") == "Bound":
            named = one["spec"]["volumeName"]
            assert claims.setdefault(uid_of(one), named) == named, "a claim has had two volumes"
            assert volumes.setdefault(named, uid_of(one)) == uid_of(one), "a volume has had two claims"
    for one in versions(log, PERSISTENTVOLUMES):
        if one.get("status", {}).get("phase") == "Bound" and name_of(one) in volumes:
            assert one["spec"]["claimRef"]["uid"] == volumes[name_of(one)], "a claim's data was given away"


async def moving_volume(cluster: Cluster) -> None:
    """A volume moves with its pod; who watches over it fails the day if it is ever on two nodes."""
    await cluster.settle(1)
    for name in cluster.nodes.names:
        await cluster.client.patch(NODES, name, {"metadata": {"annotations": {MANAGED: "true"}}})
    cluster.beside.append(asyncio.create_task(Storage(cluster).run()))
    await storage.create(cluster, storage.volume("v"), storage.claim("c-v", volumeName="v"))
    await create(cluster, (PODS, user("first", "v", "node-0")))
    await cluster.settle(10)
    await cluster.client.delete(PODS, "first", namespace="default")
    await create(cluster, (PODS, user("second", "v", "node-1")))


async def directories(cluster: Cluster) -> None:
    """A claim gets a directory of its node, and grows; another ends, and what was in it is erased."""
    await cluster.settle(1)
    metadata = {"labels": {NODE_LABEL: "true"}, "annotations": {ROOT: "/data"}}
    await cluster.client.patch(NODES, "node-0", {"metadata": metadata})
    cluster.beside.append(asyncio.create_task(_erase(cluster)))
    for name in ("goes", "grows"):
        await storage.create(cluster, storage.claim(name, storageClassName="host-path"))
        selected = {"metadata": {"annotations": {SELECTED: "node-0"}}}
        await cluster.client.patch(PERSISTENTVOLUMECLAIMS, name, selected, namespace="default")
    # So long that both have their directory, whatever was wrong.
    await cluster.settle(60)
    more = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    await cluster.client.patch(PERSISTENTVOLUMECLAIMS, "grows", more, namespace="default")
    await cluster.client.delete(PERSISTENTVOLUMECLAIMS, "goes", namespace="default")


async def _erase(cluster: Cluster) -> None:
    while True:
        await cluster.settle(2)
        with contextlib.suppress(ApiError):
            await answer(cluster, "node-0")


def no_data_goes_before_its_claim(log: Sequence[Entry]) -> None:
    gone = {uid_of(one): at for at, one in ends(log, PERSISTENTVOLUMECLAIMS)}
    for at, one in ends(log, PERSISTENTVOLUMES):
        assert gone.get(one["spec"]["claimRef"]["uid"], len(log)) < at, "a volume went that was somebody's"


OTHERS = {
    "rollout": Day(("deployment", "replicaset", "garbage-collector"), rollout, 90, never=no_rollout_surges_too_far),
    "one time": Day(("cronjob", "job", "garbage-collector"), one_time, 120, never=no_time_starts_two_jobs),
    "load": Day(
        ("horizontalpodautoscaler", "deployment", "replicaset"), load, 90, never=nothing_shrinks_or_outgrows_its_load
    ),
    "devices": Day(
        ("resourceclaim-controller", "garbage-collector"), devices, 60, never=no_claim_of_devices_is_taken_from_its_pod
    ),
    "bound volumes": Day(("persistentvolume-binder",), bound_volumes, 60, never=no_volume_changes_hands),
    "moving volume": Day(("persistentvolume-binder", "persistentvolume-attach-detach"), moving_volume, 90),
    "directories": Day(
        ("persistentvolume-binder", "host-path-provisioner", "persistentvolume-protection",
         "persistentvolumeclaim-protection"),
        directories, 60, never=no_data_goes_before_its_claim,
    ),
}  # fmt: skip
