"""Pods go where their volumes can be, and volumes come to be where their pods go."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.controllers.storage import PROVISIONER, claim, only_on, storage_class, volume
from tests.scheduler.cluster import Cluster, a_node, a_pod

from kontinuum.api.kubernetes.resources import (
    CSIDRIVERS,
    CSINODES,
    CSISTORAGECAPACITIES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    STORAGECLASSES,
)
from kontinuum.api.machinery.objects import Object, annotations_of, name_of
from kontinuum.client.rest import Client
from kontinuum.client.transport.fake import Faults
from kontinuum.client.transport.port import Request
from kontinuum.controllers.context import Context
from kontinuum.controllers.reconcilers.ephemeral import EphemeralVolumesReconciler
from kontinuum.controllers.reconcilers.persistentvolume import PersistentVolumeReconciler
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation import virtual_time
from kontinuum.foundation.clock import VirtualClock
from kontinuum.foundation.tasks import cancel
from kontinuum.scheduler import loop
from kontinuum.scheduler.settings import SchedulerSettings

HELPLESS = "preemption: 0/{0} nodes are available: {0} Preemption is not helpful for scheduling."


class Stored(Cluster):
    """A cluster with storage; ``binder`` are the faults of the controllers that bind claims."""

    def __init__(self) -> None:
        super().__init__()
        self.binder = Faults()
        self.schedulers: list[asyncio.Task[None]] = []

    def start_scheduler(self) -> None:
        """A new one, that knows only the API; one that ran before does nothing any more."""
        self.faults.down = True
        self.faults = Faults()
        client = Client(self.api.channel(self.faults))
        self.schedulers.append(asyncio.create_task(loop.run(client, VirtualClock(), SchedulerSettings())))

    async def store(self, *objects: Object) -> None:
        for obj in objects:
            if "provisioner" in obj:
                await self.client.create(STORAGECLASSES, obj)
            elif "capacity" in obj.get("spec", {}):
                await self.client.create(PERSISTENTVOLUMES, obj)
            else:
                await self.client.create(PERSISTENTVOLUMECLAIMS, obj)

    async def claim(self, name: str) -> Object:
        return await self.client.get(PERSISTENTVOLUMECLAIMS, name, namespace="default")

    async def why(self, name: str) -> str:
        """Why the pod is nowhere."""
        return str((await self.condition(name)).get("message", ""))

    async def provision(self, name: str) -> None:
        """What an external provisioner does, if it has been asked to."""
        asked = await self.claim(name)
        annotations = annotations_of(asked)
        assert annotations["volume.kubernetes.io/storage-provisioner"] == PROVISIONER
        node = annotations["volume.kubernetes.io/selected-node"]
        reference = {"namespace": "default", "name": name, "uid": asked["metadata"]["uid"]}
        spec = {"storageClassName": asked["spec"]["storageClassName"], "nodeAffinity": only_on(node)}
        size = asked["spec"]["resources"]["requests"]["storage"]
        await self.store(volume(f"pvc-{name}", size, claimRef=reference, **spec))


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Stored]:
    cluster = Stored()
    clock = VirtualClock()
    controllers = Client(cluster.api.channel(cluster.binder))
    binder = asyncio.create_task(_bind_claims(Context(controllers, clock, ControllersSettings())))
    cluster.start_scheduler()
    try:
        yield cluster
    finally:
        await cancel(binder, *cluster.schedulers)


async def _bind_claims(context: Context) -> None:
    """The controllers of storage alone: those of nodes would miss their agents."""
    reconcilers = [PersistentVolumeReconciler(context), EphemeralVolumesReconciler(context)]
    async with asyncio.TaskGroup() as group:
        for one in (*context.recorders.values(), *context.informers.values(), *reconcilers):
            group.create_task(one.run())


def scenario(main: Callable[[Stored], Awaitable[None]]) -> None:
    async def both() -> None:
        async with running() as cluster:
            await main(cluster)

    virtual_time.run(both)


def user(name: str, *claims: str, **spec: Any) -> Object:
    volumes = [{"name": one, "persistentVolumeClaim": {"claimName": one}} for one in claims]
    return a_pod(name, volumes=volumes, **spec)


def nodes(*names: str) -> list[Object]:
    return [a_node(name, labels={"topology.kubernetes.io/zone": f"zone-{name}"}) for name in names]


def test_a_pod_waits_for_its_claim_and_says_so() -> None:
    async def main(cluster: Stored) -> None:
        await cluster.create(*nodes("n1", "n2"), user("p", "c"))
        await asyncio.sleep(1)
        assert await cluster.why("p") == (
            f'0/2 nodes are available: persistentvolumeclaim "c" not found. {HELPLESS.format(2)}'
        )
        await cluster.store(storage_class("fast"), claim("c", storageClassName="fast"))
        await asyncio.sleep(15)
        assert await cluster.why("p") == (
            f"0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims. {HELPLESS.format(2)}"
        )
        await cluster.store(volume("v", storageClassName="fast", nodeAffinity=only_on("n2")))
        await asyncio.sleep(15)
        assert await cluster.node_of("p") == "n2"

    scenario(main)


def test_a_pod_that_waits_for_its_claim_is_not_tried_for_any_other_reason() -> None:
    async def main(cluster: Stored) -> None:
        await cluster.create(*nodes("n1"), user("p", "c"))
        await asyncio.sleep(2)
        await cluster.store(claim("other"), volume("v"), storage_class("fast"))
        await cluster.create(user("q", "other"))
        await asyncio.sleep(20)
        attempts = sum(count for reason, _, count in await cluster.events("p") if reason == "FailedScheduling")
        # Volumes and classes might have helped as far as is known; the other claim and its pod could not.
        assert attempts <= 3
        await cluster.store(volume("mine", claimRef={"namespace": "default", "name": "c"}), claim("c"))
        await asyncio.sleep(20)
        assert await cluster.node_of("p") == "n1"

    scenario(main)


def test_a_bound_volume_says_where_its_pod_can_be() -> None:
    async def main(cluster: Stored) -> None:
        await cluster.store(volume("v", nodeAffinity=only_on("n3")), claim("c"))
        await cluster.create(*nodes("n1", "n2"), user("p", "c"))
        await asyncio.sleep(5)
        text = "0/2 nodes are available: 2 node(s) didn't match PersistentVolume's node affinity."
        assert await cluster.why("p") == f"{text} {HELPLESS.format(2)}"
        await cluster.create(*nodes("n3"))
        await asyncio.sleep(15)
        assert await cluster.node_of("p") == "n3"

    scenario(main)


def test_a_claim_that_waits_gets_a_volume_where_its_pod_fits() -> None:
    async def main(cluster: Stored) -> None:
        await cluster.store(
            {**storage_class("local", waits=True), "provisioner": "kubernetes.io/no-provisioner"},
            volume("v1", storageClassName="local", nodeAffinity=only_on("n1")),
            volume("v2", "5Gi", storageClassName="local", nodeAffinity=only_on("n2")),
            claim("c", storageClassName="local"),
            claim("d", storageClassName="local"),
            claim("e", storageClassName="local"),
        )
        await cluster.create(*nodes("n1", "n2", "n3"))
        await asyncio.sleep(2)
        # n1 has the better volume, but the pod may not be there.
        await cluster.create(user("p", "c", nodeSelector={"kubernetes.io/hostname": "n2"}))
        await asyncio.sleep(5)
        assert await cluster.node_of("p") == "n2"
        assert (await cluster.claim("c"))["spec"]["volumeName"] == "v2"
        await cluster.create(user("q", "d"), user("r", "e"))
        await asyncio.sleep(5)
        assert sorted([await cluster.node_of("q"), await cluster.node_of("r")]) == ["", "n1"]
        waiting = "q" if not await cluster.node_of("q") else "r"
        text = "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind."
        assert await cluster.why(waiting) == f"{text} {HELPLESS.format(3)}"

    scenario(main)


def test_a_pod_with_two_claims_gets_two_volumes_of_one_node() -> None:
    async def main(cluster: Stored) -> None:
        await cluster.store(
            {**storage_class("local", waits=True), "provisioner": "kubernetes.io/no-provisioner"},
            *(volume(f"a{size}", f"{size}Gi", storageClassName="local", nodeAffinity=only_on("n1")) for size in (2, 9)),
            volume("b", "9Gi", storageClassName="local", nodeAffinity=only_on("n2")),
            claim("large", "5Gi", storageClassName="local"),
            claim("small", "1Gi", storageClassName="local"),
        )
        await cluster.create(*nodes("n1", "n2"))
        await asyncio.sleep(2)
        await cluster.create(user("p", "large", "small"))
        await asyncio.sleep(5)
        assert await cluster.node_of("p") == "n1"
        named = {name: (await cluster.claim(name))["spec"]["volumeName"] for name in ("large", "small")}
        assert named == {"large": "a9", "small": "a2"}

    scenario(main)


def test_a_volume_is_made_where_the_pod_will_be_and_the_pod_waits_for_it() -> None:
    async def main(cluster: Stored) -> None:
        await cluster.store(storage_class("local", waits=True), claim("c", storageClassName="local"))
        await cluster.create(*nodes("n1", "n2"), user("p", "c"))
        await asyncio.sleep(30)
        selected = annotations_of(await cluster.claim("c"))["volume.kubernetes.io/selected-node"]
        assert selected in ("n1", "n2")
        assert await cluster.node_of("p") == ""
        await cluster.provision("c")
        await asyncio.sleep(5)
        assert await cluster.node_of("p") == selected

    scenario(main)


def test_a_provisioner_that_gives_up_lets_the_pod_go_elsewhere() -> None:
    async def main(cluster: Stored) -> None:
        await cluster.store(storage_class("local", waits=True), claim("c", storageClassName="local"))
        await cluster.create(*nodes("n1"), user("p", "c"))
        await asyncio.sleep(5)
        await cluster.create(a_node("n2", cpu="64"))
        patch = {"spec": {"unschedulable": True}}
        await cluster.client.patch(NODES, "n1", patch)
        patch = {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": None}}}
        await cluster.client.patch(PERSISTENTVOLUMECLAIMS, "c", patch, namespace="default")
        await asyncio.sleep(15)
        told = [message for reason, message, _ in await cluster.events("p") if reason == "FailedScheduling"]
        assert any(
            'running PreBind plugin "VolumeBinding": binding volumes: provisioning failed for PVC "c"' in one
            for one in told
        )
        assert annotations_of(await cluster.claim("c"))["volume.kubernetes.io/selected-node"] == "n2"

    scenario(main)


def test_a_binding_that_takes_too_long_is_given_up_and_tried_again() -> None:
    async def main(cluster: Stored) -> None:
        await cluster.store(storage_class("local", waits=True), claim("c", storageClassName="local"))
        await cluster.create(*nodes("n1"), user("p", "c"))
        await asyncio.sleep(630)
        told = [message for _, message, _ in await cluster.events("p")]
        assert any("binding volumes: context deadline exceeded" in one for one in told)
        await cluster.provision("c")
        await asyncio.sleep(30)
        assert await cluster.node_of("p") == "n1"

    scenario(main)


def test_two_pods_never_get_one_volume_whatever_is_taken_in_between() -> None:
    async def main(cluster: Stored) -> None:
        await cluster.store(
            {**storage_class("local", waits=True), "provisioner": "kubernetes.io/no-provisioner"},
            *(volume(f"v{n}", storageClassName="local", nodeAffinity=only_on("n1")) for n in range(3)),
            *(claim(f"c{n}", storageClassName="local") for n in range(3)),
        )
        await cluster.create(*nodes("n1"))
        await asyncio.sleep(2)

        def forestall(request: Request) -> None:
            """Somebody takes the very volume that the scheduler is about to claim, once."""
            if request.method == "PATCH" and request.path.startswith("/api/v1/persistentvolumes/"):
                cluster.faults.refuse = lambda request: None
                name = request.path.rsplit("/", 1)[1]
                found = cluster.api.storage.get(PERSISTENTVOLUMES, name)
                assert found is not None
                theirs = {"namespace": "default", "name": "somebody", "uid": ""}
                cluster.api.storage.put(PERSISTENTVOLUMES, {**found, "spec": {**found["spec"], "claimRef": theirs}})

        cluster.faults.refuse = forestall
        await cluster.create(*(user(f"p{n}", f"c{n}") for n in range(3)))
        await asyncio.sleep(60)
        bound = [one for n in range(3) if (one := (await cluster.claim(f"c{n}"))["spec"].get("volumeName"))]
        assert len(bound) == len(set(bound)) == 2
        placed = [name for n in range(3) if (name := await cluster.node_of(f"p{n}"))]
        assert placed == ["n1", "n1"]

    scenario(main)


def test_a_claim_of_one_pod_alone_is_refused_to_a_second() -> None:
    async def main(cluster: Stored) -> None:
        modes = {"accessModes": ["ReadWriteOncePod"]}
        await cluster.store(volume("v", **modes), claim("c", **modes))
        await cluster.create(*nodes("n1", "n2"))
        await asyncio.sleep(2)
        await cluster.create(user("p", "c"))
        await asyncio.sleep(2)
        await cluster.create(user("q", "c"))
        await asyncio.sleep(5)
        assert await cluster.node_of("p")
        assert await cluster.node_of("q") == ""
        text = (
            "2 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode "
            "already in-use by another pod."
        )
        assert (await cluster.why("q")).startswith(f"0/2 nodes are available: {text}")
        await cluster.finish("p")
        await asyncio.sleep(15)
        assert await cluster.node_of("q")

    scenario(main)


def test_a_disk_is_not_shared_on_one_node() -> None:
    def with_disk(name: str, **more: Any) -> Object:
        return a_pod(name, volumes=[{"name": "d", "gcePersistentDisk": {"pdName": "disk", **more}}])

    async def main(cluster: Stored) -> None:
        await cluster.create(*nodes("n1"), with_disk("p"))
        await asyncio.sleep(2)
        await cluster.create(with_disk("q", readOnly=True))
        await asyncio.sleep(2)
        assert (await cluster.why("q")).startswith("0/1 nodes are available: 1 node(s) had no available disk.")
        await cluster.finish("p")
        await asyncio.sleep(15)
        await cluster.create(with_disk("r", readOnly=True))
        await asyncio.sleep(5)
        assert [await cluster.node_of(name) for name in ("q", "r")] == ["n1", "n1"]

    scenario(main)


def test_a_node_takes_as_many_volumes_as_its_driver_says() -> None:
    async def main(cluster: Stored) -> None:
        drivers = [{"name": PROVISIONER, "nodeID": "n1", "allocatable": {"count": 2}}]
        await cluster.client.create(CSINODES, {"metadata": {"name": "n1"}, "spec": {"drivers": drivers}})
        await cluster.store(*(one for n in range(3) for one in (volume(f"v{n}"), claim(f"c{n}"))))
        await cluster.create(*nodes("n1"))
        await asyncio.sleep(3)
        await cluster.create(user("p", "c0", "c1"))
        await asyncio.sleep(3)
        await cluster.create(user("q", "c2"), user("r", "c1"))
        await asyncio.sleep(5)
        assert (await cluster.why("q")).startswith("0/1 nodes are available: 1 node(s) exceed max volume count.")
        assert await cluster.node_of("r") == "n1"  # It brings no volume that is not there.

    scenario(main)


@pytest.mark.parametrize(("zones", "fits"), [("zone-n2", ["n2"]), ("zone-n1__zone-n2", ["n1", "n2"]), ("zone-x", [""])])
def test_a_volume_of_a_zone_is_used_there(zones: str, fits: list[str]) -> None:
    async def main(cluster: Stored) -> None:
        offer = volume("v")
        offer["metadata"]["labels"] = {"topology.kubernetes.io/zone": zones}
        await cluster.store(offer, claim("c"))
        await cluster.create(*nodes("n1", "n2"))
        await asyncio.sleep(3)
        await cluster.create(user("p", "c"))
        await asyncio.sleep(5)
        assert await cluster.node_of("p") in fits
        if fits == [""]:
            text = "0/2 nodes are available: 2 node(s) had no available volume zone."
            assert (await cluster.why("p")).startswith(text)

    scenario(main)


def test_volumes_are_made_in_allowed_topologies_only_and_where_there_is_room() -> None:
    async def main(cluster: Stored) -> None:
        allowed = [
            {"matchLabelExpressions": [{"key": "topology.kubernetes.io/zone", "values": ["zone-n2", "zone-n3"]}]}
        ]
        await cluster.store(storage_class("local", waits=True, allowedTopologies=allowed))
        await cluster.client.create(CSIDRIVERS, {"metadata": {"name": PROVISIONER}, "spec": {"storageCapacity": True}})
        await cluster.store(claim("c", storageClassName="local"), claim("d", "100Gi", storageClassName="local"))
        await cluster.create(*nodes("n1", "n2", "n3"))
        await asyncio.sleep(1)
        await cluster.create(user("p", "c"))
        await asyncio.sleep(5)
        text = "0/3 nodes are available: 1 node(s) didn't find available persistent volumes to bind, "
        assert (await cluster.why("p")).startswith(text + "2 node(s) did not have enough free storage.")
        room = {"storageClassName": "local", "capacity": "10Gi"}
        topology = {"matchLabels": {"kubernetes.io/hostname": "n3"}}
        metadata = {"name": "room", "namespace": "default"}
        await cluster.client.create(CSISTORAGECAPACITIES, {"metadata": metadata, **room, "nodeTopology": topology})
        await cluster.create(user("q", "d"))
        await asyncio.sleep(15)
        assert annotations_of(await cluster.claim("c"))["volume.kubernetes.io/selected-node"] == "n3"
        assert "volume.kubernetes.io/selected-node" not in annotations_of(await cluster.claim("d"))
        assert name_of(await cluster.claim("d")) == "d"

    scenario(main)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"metadata": {"finalizers": ["test/held"]}}, 'persistentvolumeclaim "c" is being deleted'),
        (
            {"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "gone"}},
            'persistentvolumeclaim "c" bound to non-existent persistentvolume "gone"',
        ),
    ],
)
def test_a_claim_that_is_no_good_any_more_is_said_to_be(change: Object, text: str) -> None:
    async def main(cluster: Stored) -> None:
        await cluster.store(claim("c"))
        await cluster.client.patch(PERSISTENTVOLUMECLAIMS, "c", change, namespace="default")
        if "finalizers" in change["metadata"]:
            await cluster.client.delete(PERSISTENTVOLUMECLAIMS, "c", namespace="default")
        await cluster.create(*nodes("n1"))
        await asyncio.sleep(5)
        await cluster.create(user("p", "c"))
        await asyncio.sleep(5)
        assert await cluster.why("p") == f"0/1 nodes are available: {text}. {HELPLESS.format(1)}"

    scenario(main)


def test_an_ephemeral_volume_waits_for_its_claim() -> None:
    async def main(cluster: Stored) -> None:
        cluster.binder.down = True
        template = {"spec": claim("x", storageClassName="local")["spec"]}
        volumes = [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]
        await cluster.store(storage_class("local", waits=True))
        await cluster.create(*nodes("n1"), a_pod("p", volumes=volumes))
        await asyncio.sleep(3)
        text = 'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-scratch"'
        assert await cluster.why("p") == f"0/1 nodes are available: {text}. {HELPLESS.format(1)}"
        cluster.binder.down = False
        await asyncio.sleep(60)
        await cluster.provision("p-scratch")
        await asyncio.sleep(10)
        assert await cluster.node_of("p") == "n1"

    scenario(main)


def run_lives(prepare: Callable[[Stored], None], *, suffers: bool = True) -> tuple[dict[str, Any], list[int]]:
    """Two pods with a volume that is there each, and one with a volume that is to be made; and the writes that took."""

    async def main() -> tuple[dict[str, Any], list[int]]:
        async with running() as cluster:
            await cluster.store(
                storage_class("local", waits=True),
                *(volume(f"v{n}", storageClassName="local", nodeAffinity=only_on("n1")) for n in range(2)),
                *(claim(f"c{n}", storageClassName="local") for n in range(2)),
                claim("made", "50Gi", storageClassName="local"),
            )
            await cluster.create(*nodes("n1"))
            await asyncio.sleep(2)
            prepare(cluster)
            await cluster.create(user("p0", "c0"), user("p1", "c1"), user("q", "made"))
            await asyncio.sleep(45)
            await cluster.provision("made")
            await asyncio.sleep(60)
            state = {
                "nodes": [await cluster.node_of(name) for name in ("p0", "p1", "q")],
                "volumes": sorted([(await cluster.claim(f"c{n}"))["spec"]["volumeName"] for n in range(2)]),
                "made": (await cluster.claim("made"))["spec"]["volumeName"],
            }
            refused = [
                text for name in ("p0", "p1", "q") for _, text, _ in await cluster.events(name) if "PreBind" in text
            ]
            assert suffers or not refused, "the scheduler took its own haste for somebody's undoing"
            writes = [n for n, one in enumerate(cluster.faults.writes, 1) if "/events" not in one.path]
            return state, writes

    return virtual_time.run(main)


def test_the_end_is_the_same_wherever_the_scheduler_is_killed() -> None:
    expected = {"nodes": ["n1"] * 3, "volumes": ["v0", "v1"], "made": "pvc-made"}
    state, writes = run_lives(lambda cluster: None, suffers=False)
    assert state == expected
    assert len(writes) >= 6
    for point in writes:

        def kill_at(cluster: Stored, point: int = point) -> None:
            def after_write(number: int, request: object) -> None:
                if number == point:
                    cluster.start_scheduler()

            cluster.faults.after_write = after_write

        assert run_lives(kill_at)[0] == expected, f"killed after write {point}"
        lost, _ = run_lives(lambda cluster, point=point: cluster.faults.lose_answer(point))  # type: ignore[misc]
        assert lost == expected, f"the answer to write {point} was lost"
