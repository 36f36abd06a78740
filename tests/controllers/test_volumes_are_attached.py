"""A volume is attached where pods use it, to one node at a time, and detached when nobody there uses it any more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.controllers.cluster import Cluster, running
from tests.controllers.storage import PROVISIONER, claim, create, events, volume

from kontinuum.api.kubernetes.resources import CSIDRIVERS, NODES, PODS, VOLUMEATTACHMENTS
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.errors import Unreachable
from kontinuum.client.rest import Client
from kontinuum.client.transport.fake import Faults
from kontinuum.controllers.lib.attachment import attachment_name
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation import virtual_time
from kontinuum.foundation.tasks import cancel

MANAGED = "volumes.kubernetes.io/controller-managed-attach-detach"
FINALIZER = "external-attacher/csi-example-com"


STORAGE = ControllersSettings(enabled=("persistentvolume-binder", "persistentvolume-attach-detach"))
"""Where many lives are searched, nobody else has a say."""


class Storage:
    """The CSI driver's attacher, and what kubelets do about volumes: mount what is attached, unmount what is not used.

    It looks at everything twice a second, and checks what must never be: a volume of one node alone on two, or a mount
    that was not reported to the node as attached.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._client = Client(cluster.api.channel(Faults()))
        self.stuck: set[str] = set()
        """Nodes whose agents do nothing any more: what is mounted there stays mounted."""
        self.refuse: str = ""
        """What the driver says instead of attaching."""
        self.mounted: dict[str, set[str]] = {}
        """By node: handles of volumes."""

    async def run(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            with contextlib.suppress(ApiError, Unreachable):
                await self._attach_and_detach()
                for node in self._cluster.everything(NODES):
                    if name_of(node) not in self.stuck:
                        await self._mount(node)
            self.check()

    def check(self) -> None:
        attached = [one for one in self._cluster.everything(VOLUMEATTACHMENTS) if one["status"].get("attached")]
        single = [one["spec"]["source"]["persistentVolumeName"] for one in attached]
        single = [name for name in single if not name.startswith("shared")]
        assert len(single) == len(set(single)), "a volume is attached to two nodes"

    async def _attach_and_detach(self) -> None:
        for one in self._cluster.everything(VOLUMEATTACHMENTS):
            name, held = name_of(one), FINALIZER in (one["metadata"].get("finalizers") or ())
            if "deletionTimestamp" in one["metadata"]:
                if held:
                    patch: Object = {"status": {"attached": False}}
                    await self._client.patch(VOLUMEATTACHMENTS, name, patch, subresource="status")
                    await self._client.patch(VOLUMEATTACHMENTS, name, {"metadata": {"finalizers": None}})
            elif not held:
                await self._client.patch(VOLUMEATTACHMENTS, name, {"metadata": {"finalizers": [FINALIZER]}})
            elif not one["status"].get("attached"):
                error = {"message": self.refuse} if self.refuse else None
                patch = {"status": {"attached": not self.refuse, "attachError": error}}
                await self._client.patch(VOLUMEATTACHMENTS, name, patch, subresource="status")

    async def _mount(self, node: Object) -> None:
        wanted = {
            f"kubernetes.io/csi/{PROVISIONER}^{one['persistentVolumeClaim']['claimName'].replace('c-', '')}"
            for pod in self._cluster.everything(PODS)
            if pod["spec"].get("nodeName") == name_of(node) and pod["status"].get("phase") in ("Pending", "Running")
            for one in pod["spec"].get("volumes") or ()
        }
        attached = {one["name"] for one in node["status"].get("volumesAttached") or ()}
        mounted = self.mounted.setdefault(name_of(node), set())
        # The agent says first that it uses a volume, then sees whether it is its own, then mounts.
        status = {"volumesInUse": sorted(wanted) or None}
        if (node["status"].get("volumesInUse") or []) != sorted(wanted):
            await self._client.patch(NODES, name_of(node), {"status": status}, subresource="status")
            mounted &= wanted
        else:
            mounted |= wanted & attached
        others = {handle for name, handles in self.mounted.items() if name != name_of(node) for handle in handles}
        assert not {one for one in mounted & others if "^shared" not in one}, "a volume is mounted on two nodes"


def scenario(main: Callable[[Cluster, Storage], Awaitable[None]], settings: ControllersSettings | None = None) -> None:
    async def run() -> None:
        async with running(settings) as cluster:
            await cluster.settle(1)
            for name in cluster.nodes.names:
                await cluster.client.patch(NODES, name, {"metadata": {"annotations": {MANAGED: "true"}}})
            storage = Storage(cluster)
            task = asyncio.create_task(storage.run())
            try:
                await main(cluster, storage)
            finally:
                await cancel(task)

    virtual_time.run(run)


def user(name: str, of: str, node: str) -> Object:
    """A pod on a node that uses the claim of a volume."""
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": f"c-{of}"}}]
    spec = {"containers": [{"name": "main", "image": "i"}], "volumes": volumes, "nodeName": node}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"terminationGracePeriodSeconds": 5, **spec}}


async def offer(cluster: Cluster, name: str, **spec: Any) -> None:
    modes = {"accessModes": spec["accessModes"]} if "accessModes" in spec else {}
    await create(cluster, volume(name, **spec), claim(f"c-{name}", volumeName=name, **modes))


def attachments(cluster: Cluster) -> dict[str, bool]:
    """By node: whether it has the volume, or is about to."""
    return {one["spec"]["nodeName"]: bool(one["status"].get("attached"))
            for one in cluster.everything(VOLUMEATTACHMENTS)}  # fmt: skip


def reported(cluster: Cluster, node: str) -> list[Object]:
    found = cluster.api.storage.get(NODES, node)
    assert found is not None
    return found["status"].get("volumesAttached") or []


def test_a_volume_is_attached_before_its_pod_and_detached_after_it() -> None:
    async def main(cluster: Cluster, storage: Storage) -> None:
        await offer(cluster, "v")
        await cluster.settle(3)
        assert attachments(cluster) == {}
        await cluster.client.create(PODS, user("p", "v", "node-0"))
        await cluster.settle(5)
        [made] = cluster.everything(VOLUMEATTACHMENTS)
        assert name_of(made) == attachment_name(volume("v"), "node-0")
        source = {"persistentVolumeName": "v"}
        assert made["spec"] == {"attacher": PROVISIONER, "nodeName": "node-0", "source": source}
        assert reported(cluster, "node-0") == [{"name": f"kubernetes.io/csi/{PROVISIONER}^v", "devicePath": ""}]
        text = 'Normal SuccessfulAttachVolume: AttachVolume.Attach succeeded for volume "v" '
        assert events(cluster, "p") == [text]
        await cluster.client.delete(PODS, "p", namespace="default")
        await cluster.settle(20)
        assert attachments(cluster) == {}
        assert reported(cluster, "node-0") == []

    scenario(main)


def test_the_name_is_the_one_that_kubelets_look_for() -> None:
    # echo -n "vol-1csi.example.comnode-1" | sha256sum
    digest = "b74c7fc125891ffa0d0f2e0d645733e3fae7fba3066e76500a771ea08be9da28"
    assert attachment_name(volume("vol-1"), "node-1") == f"csi-{digest}"


@pytest.mark.parametrize("how", ["driver", "node", "kind"])
def test_what_needs_no_attaching_is_not_attached(how: str) -> None:
    async def main(cluster: Cluster, storage: Storage) -> None:
        more: dict[str, Any] = {}
        if how == "driver":
            driver = {"metadata": {"name": PROVISIONER}, "spec": {"attachRequired": False}}
            await cluster.client.create(CSIDRIVERS, driver)
        elif how == "node":
            await cluster.client.patch(NODES, "node-0", {"metadata": {"annotations": {MANAGED: None}}})
        made = volume("v", **more)
        if how == "kind":
            made["spec"] = {**made["spec"], "nfs": {"server": "s", "path": "/"}}
            del made["spec"]["csi"]
        await create(cluster, made, claim("c-v", volumeName="v"))
        await cluster.client.create(PODS, user("p", "v", "node-0"))
        await cluster.settle(20)
        assert attachments(cluster) == {}

    scenario(main)


def test_a_volume_that_is_elsewhere_is_waited_for_and_said_to_be() -> None:
    async def main(cluster: Cluster, storage: Storage) -> None:
        await offer(cluster, "v")
        await cluster.client.create(PODS, user("first", "v", "node-0"))
        await cluster.settle(5)
        await cluster.client.create(PODS, user("second", "v", "node-1"))
        await cluster.settle(30)
        assert attachments(cluster) == {"node-0": True}
        assert events(cluster, "second") == [
            'Warning FailedAttachVolume: Multi-Attach error for volume "v" Volume is already used by pod(s) first'
        ]
        await cluster.client.delete(PODS, "first", namespace="default")
        await cluster.settle(30)
        assert attachments(cluster) == {"node-1": True}

    scenario(main)


def test_a_volume_that_many_may_have_is_attached_to_many() -> None:
    async def main(cluster: Cluster, storage: Storage) -> None:
        await offer(cluster, "shared", accessModes=["ReadWriteMany"])
        for number in (0, 1):
            await cluster.client.create(PODS, user(f"p{number}", "shared", f"node-{number}"))
        await cluster.settle(5)
        assert attachments(cluster) == {"node-0": True, "node-1": True}

    scenario(main)


def test_a_driver_that_cannot_attach_is_quoted() -> None:
    async def main(cluster: Cluster, storage: Storage) -> None:
        storage.refuse = "rpc error: code = Internal desc = no such disk"
        await offer(cluster, "v")
        await cluster.client.create(PODS, user("p", "v", "node-0"))
        await cluster.settle(10)
        text = 'Warning FailedAttachVolume: AttachVolume.Attach failed for volume "v" : '
        assert events(cluster, "p") == [text + storage.refuse]
        storage.refuse = ""
        await cluster.settle(5)
        assert attachments(cluster) == {"node-0": True}

    scenario(main)


async def silence(cluster: Cluster, storage: Storage, node: str) -> None:
    storage.stuck.add(node)
    cluster.nodes.silent.add(node)


def test_a_mounted_volume_of_a_silent_node_is_detached_after_six_minutes() -> None:
    async def main(cluster: Cluster, storage: Storage) -> None:
        await offer(cluster, "v")
        await cluster.client.create(PODS, user("p", "v", "node-0"))
        await cluster.settle(5)
        await silence(cluster, storage, "node-0")
        await cluster.settle(60)
        await cluster.client.delete(PODS, "p", namespace="default", grace_seconds=0)
        await cluster.settle(330)
        assert attachments(cluster) == {"node-0": True}
        storage.mounted.clear()  # Whoever forces it must know that the node is off.
        await cluster.settle(60)
        assert attachments(cluster) == {}

    scenario(main)


def test_an_operator_may_forbid_to_detach_by_force() -> None:
    async def main(cluster: Cluster, storage: Storage) -> None:
        await offer(cluster, "v")
        await cluster.client.create(PODS, user("p", "v", "node-0"))
        await cluster.settle(5)
        await silence(cluster, storage, "node-0")
        await cluster.settle(60)
        await cluster.client.delete(PODS, "p", namespace="default", grace_seconds=0)
        await cluster.settle(1200)
        assert attachments(cluster) == {"node-0": True}

    scenario(main, ControllersSettings(force_detach_seconds=0))


def test_a_node_that_is_known_to_be_off_loses_its_pods_and_volumes_at_once() -> None:
    async def main(cluster: Cluster, storage: Storage) -> None:
        await offer(cluster, "v")
        await cluster.client.create(PODS, user("p", "v", "node-0"))
        await cluster.settle(5)
        await silence(cluster, storage, "node-0")
        await cluster.settle(60)
        await cluster.client.delete(PODS, "p", namespace="default")
        storage.mounted.clear()
        taint = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
        node = cluster.api.storage.get(NODES, "node-0")
        assert node is not None
        taints = [*(node["spec"].get("taints") or ()), taint]
        await cluster.client.patch(NODES, "node-0", {"spec": {"taints": taints}})
        await cluster.settle(40)
        assert cluster.everything(PODS) == []
        assert attachments(cluster) == {}

    scenario(main)


def test_attachments_that_others_keep_are_left_alone() -> None:
    async def main(cluster: Cluster, storage: Storage) -> None:
        await offer(cluster, "v")
        spec = {"attacher": PROVISIONER, "nodeName": "node-0", "source": {"persistentVolumeName": "v"}}
        await cluster.client.create(VOLUMEATTACHMENTS, {"metadata": {"name": "mine"}, "spec": spec})
        await cluster.settle(700)
        assert attachments(cluster) == {"node-0": True}

    scenario(main)


ACTION = st.one_of(
    st.tuples(st.just("start"), st.integers(0, 3), st.integers(0, 2)),
    st.tuples(st.just("stop"), st.integers(0, 3), st.just(0)),
    st.tuples(st.just("wait"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("kill"), st.just(0), st.just(0)),
)


@settings(max_examples=12, deadline=None)
@given(st.lists(ACTION, min_size=3, max_size=14), st.sets(st.integers(1, 30), max_size=4))
def test_a_volume_is_never_on_two_nodes(actions: list[tuple[str, int, int]], lost: set[int]) -> None:
    """Pods come and go on all nodes, controllers are killed and answers lost: ``Storage`` checks every half second."""

    async def main(cluster: Cluster, storage: Storage) -> None:
        await offer(cluster, "v")
        for number in lost:
            cluster.faults.lose_answer(number)
        for what, which, node in actions:
            with contextlib.suppress(ApiError):
                if what == "start":
                    await cluster.client.create(PODS, user(f"p{which}", "v", f"node-{node}"))
                elif what == "stop":
                    await cluster.client.delete(PODS, f"p{which}", namespace="default")
                elif what == "kill":
                    cluster.replace_controllers()
                else:
                    await asyncio.sleep(which / 3)
        for which in range(4):
            with contextlib.suppress(ApiError):
                await cluster.client.delete(PODS, f"p{which}", namespace="default")
        await cluster.settle(60)
        assert attachments(cluster) == {}
        assert all(reported(cluster, name) == [] for name in cluster.nodes.names)

    scenario(main, STORAGE)


def run_move(prepare: Callable[[Cluster], None]) -> list[int]:
    """A volume moves with its pod from one node to another; the numbers of the controllers' writes for that."""
    writes: list[int] = []

    async def main(cluster: Cluster, storage: Storage) -> None:
        await offer(cluster, "v")
        prepare(cluster)
        await cluster.client.create(PODS, user("first", "v", "node-0"))
        await cluster.settle(8)
        await cluster.client.delete(PODS, "first", namespace="default")
        await cluster.client.create(PODS, user("second", "v", "node-1"))
        await cluster.settle(40)
        assert attachments(cluster) == {"node-1": True}
        assert (reported(cluster, "node-0"), len(reported(cluster, "node-1"))) == ([], 1)
        assert storage.mounted["node-1"] == {f"kubernetes.io/csi/{PROVISIONER}^v"}
        paths = [one.path for one in cluster.faults.writes]
        writes.extend(n for n, path in enumerate(paths, 1) if "/volumeattachments" in path or "/nodes/" in path)

    scenario(main, STORAGE)
    return writes


def test_a_volume_moves_with_its_pod_wherever_the_controllers_are_killed() -> None:
    writes = run_move(lambda cluster: None)
    assert len(writes) >= 5
    for point in writes:

        def kill_at(cluster: Cluster, point: int = point) -> None:
            def after_write(number: int, request: object) -> None:
                if number == point:
                    cluster.replace_controllers()

            cluster.faults.after_write = after_write

        run_move(kill_at)
        run_move(lambda cluster, point=point: cluster.faults.lose_answer(point))  # type: ignore[misc]


def test_a_settled_cluster_is_not_written_to() -> None:
    async def main(cluster: Cluster, storage: Storage) -> None:
        await offer(cluster, "v")
        await cluster.client.create(PODS, user("p", "v", "node-0"))
        await cluster.settle(30)
        before = len(cluster.faults.writes)
        await cluster.settle(1300)
        assert [one.path for one in cluster.faults.writes[before:]] == []

    scenario(main)
