from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from tests.node.fake_runtime import FakeRuntime

from kontinuum.api.kubernetes.resources import LEASES, NODES
from kontinuum.client.rest import Client
from kontinuum.client.transport.fake import FakeApi
from kontinuum.foundation import virtual_time
from kontinuum.foundation.clock import VirtualClock
from kontinuum.foundation.tasks import cancel
from kontinuum.node.heartbeat import LEASE_NAMESPACE, Heartbeat
from kontinuum.node.port import Features, PresentImage
from kontinuum.node.registration import MachineFacts, bandwidth, images_status, moves, node_status
from kontinuum.node.settings import NodeSettings

FACTS = MachineFacts(
    name="n1", address="192.0.2.1", hostname="n1", cpus=2, memory=4 << 30, disk=1 << 40, processes=1000,
    architecture="amd64", kernel="6.1", os_image="Debian", machine_id="m", system_uuid="s", boot_id="b", runtime="containerd://1.6.20",
)  # fmt: skip
SETTINGS = NodeSettings(
    name="n1",
    data_dir="/d",
    accelerator="tcg",
    vmm="qemu",
    runtime_config="/c",
    kube_reserved={"cpu": "100m", "memory": "512Mi"},
    system_reserved={"memory": "512Mi"},
    eviction_hard={},
)


def live(
    story: Callable[[Client, FakeRuntime, Heartbeat], Awaitable[None]],
    told: list[tuple[str, str, str]] | None = None,
    is_leaving: Callable[[], bool] = lambda: False,
) -> None:
    """``told`` takes the events about the node: type, reason, message."""

    def tell(kind: str, reason: str, message: str) -> None:
        if told is not None:
            told.append((kind, reason, message))

    async def main() -> None:
        clock = VirtualClock()
        client, runtime = FakeApi(clock).client(), FakeRuntime(clock)
        heartbeat = Heartbeat(client, runtime, clock, SETTINGS, FACTS, 10250, is_leaving=is_leaving, tell=tell)
        await heartbeat.register()
        running = asyncio.create_task(heartbeat.run())
        await story(client, runtime, heartbeat)
        await cancel(running)

    virtual_time.run(main)


def test_a_node_says_what_it_is_and_what_it_can_run() -> None:
    async def story(client: Client, runtime: FakeRuntime, heartbeat: Heartbeat) -> None:
        node = await client.get(NODES, "n1")
        assert node["metadata"]["labels"] == {
            "kubernetes.io/hostname": "n1", "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "kontinuum.dev/class.container": "true", "kontinuum.dev/class.microvm": "true",
            "kontinuum.dev/accelerator": "tcg", "kontinuum.dev/vmm": "qemu", "kontinuum.dev/host-path-volumes": "true",
        }  # fmt: skip
        assert node["metadata"]["annotations"] == {"kontinuum.dev/host-path-root": "/d/volumes"}
        status = node["status"]
        assert status["capacity"]["memory"] == "4194304Ki"
        assert (status["allocatable"]["cpu"], status["allocatable"]["memory"]) == ("1900m", "3145728Ki")
        assert status["daemonEndpoints"]["kubeletEndpoint"]["Port"] == 10250

    live(story)


def test_a_node_says_what_its_runtime_says_that_it_can_do() -> None:
    features = Features(frozenset({"", "container"}), frozenset({"container"}), supplemental_groups_policy=True)
    told = node_status(replace(FACTS, features=features), SETTINGS, {}, port=0, problem="", now="")
    assert told["features"] == {"supplementalGroupsPolicy": True}
    assert {one["name"]: tuple(one["features"].values()) for one in told["runtimeHandlers"]} == {
        "": (False, True), "container": (True, True), "microvm": (False, False)
    }  # fmt: skip


def test_the_lease_is_renewed_and_the_status_left_alone() -> None:
    async def story(client: Client, runtime: FakeRuntime, heartbeat: Heartbeat) -> None:
        first = await client.get(LEASES, "n1", namespace=LEASE_NAMESPACE)
        version = (await client.get(NODES, "n1"))["metadata"]["resourceVersion"]
        await asyncio.sleep(60)
        later = await client.get(LEASES, "n1", namespace=LEASE_NAMESPACE)
        assert later["spec"]["renewTime"] > first["spec"]["renewTime"]
        assert (await client.get(NODES, "n1"))["metadata"]["resourceVersion"] == version
        await asyncio.sleep(300)
        assert (await client.get(NODES, "n1"))["metadata"]["resourceVersion"] != version

    live(story)


def test_a_node_without_a_runtime_says_that_it_is_not_ready() -> None:
    async def story(client: Client, runtime: FakeRuntime, heartbeat: Heartbeat) -> None:
        async def ready() -> tuple[str, str]:
            conditions = (await client.get(NODES, "n1"))["status"]["conditions"]
            return next((one["status"], one["reason"]) for one in conditions if one["type"] == "Ready")

        runtime.is_away = True
        await asyncio.sleep(15)
        assert await ready() == ("False", "KubeletNotReady")
        runtime.is_away = False
        await asyncio.sleep(15)
        assert await ready() == ("True", "KubeletReady")

    live(story)


def test_a_node_tells_of_its_start_its_state_and_its_cordon_in_events_as_a_kubelet_does() -> None:
    told: list[tuple[str, str, str]] = []

    def news() -> list[str]:
        reasons = [reason for _, reason, _ in told]
        told.clear()
        return reasons

    async def story(client: Client, runtime: FakeRuntime, heartbeat: Heartbeat) -> None:
        assert told[0] == ("Normal", "Starting", "Starting kubelet.")
        assert told[-1] == ("Normal", "NodeReady", "Node n1 status is now: NodeReady")
        sufficient = ["NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID"]
        assert news() == ["Starting", *sufficient, "NodeReady"]
        runtime.is_away = True
        await asyncio.sleep(40)
        assert news() == ["NodeNotReady"]
        runtime.is_away = False
        await asyncio.sleep(40)
        assert news() == ["NodeReady"]
        await client.patch(NODES, "n1", {"spec": {"unschedulable": True}})
        await asyncio.sleep(40)
        assert news() == ["NodeNotSchedulable"]
        await client.patch(NODES, "n1", {"spec": {"unschedulable": None}})
        await asyncio.sleep(400)
        assert news() == ["NodeSchedulable"]
        # Deleted and here again: what it says of itself is new to the API, that it started is not.
        await client.delete(NODES, "n1")
        await asyncio.sleep(40)
        assert news() == [*sufficient, "NodeReady"]

    live(story, told)


def test_a_machine_that_was_booted_again_is_told_once() -> None:
    told: list[tuple[str, str, str]] = []

    async def story(client: Client, runtime: FakeRuntime, heartbeat: Heartbeat) -> None:
        assert not [one for one in told if one[1] == "Rebooted"], "its first boot that the API hears of"
        await client.patch(NODES, "n1", {"status": {"nodeInfo": {"bootID": "before"}}}, subresource="status")
        await asyncio.sleep(40)
        assert [one for one in told if one[1] == "Rebooted"] == [
            ("Warning", "Rebooted", "Node n1 has been rebooted, boot id: b")
        ]

    live(story, told)


def test_a_shutdown_is_told_when_it_begins_and_when_it_is_called_off() -> None:
    told: list[tuple[str, str, str]] = []
    announced: set[str] = set()

    async def story(client: Client, runtime: FakeRuntime, heartbeat: Heartbeat) -> None:
        told.clear()
        announced.add("shutdown")
        heartbeat.hurry()
        await asyncio.sleep(40)
        announced.clear()
        heartbeat.hurry()
        await asyncio.sleep(40)
        assert told == [
            ("Normal", "Shutdown", "Shutdown manager detected shutdown event"),
            ("Normal", "NodeNotReady", "Node n1 status is now: NodeNotReady"),
            ("Normal", "Shutdown", "Shutdown manager detected shutdown cancellation"),
            ("Normal", "NodeReady", "Node n1 status is now: NodeReady"),
        ]

    live(story, told, is_leaving=lambda: bool(announced))


def test_pressure_is_told_when_it_comes_and_when_it_goes() -> None:
    calm = node_status(FACTS, SETTINGS, {}, port=0, problem="", now="t")
    pressed = node_status(FACTS, SETTINGS, calm, port=0, problem="", now="t", pressures=["DiskPressure", "PIDPressure"])
    assert moves(calm, pressed) == ["NodeHasDiskPressure", "NodeHasInsufficientPID"]
    assert moves(pressed, calm) == ["NodeHasNoDiskPressure", "NodeHasSufficientPID"]
    assert moves(calm, calm) == []


def test_a_node_that_was_deleted_comes_back() -> None:
    async def story(client: Client, runtime: FakeRuntime, heartbeat: Heartbeat) -> None:
        await client.delete(NODES, "n1")
        await asyncio.sleep(400)
        assert (await client.get(NODES, "n1"))["status"]["capacity"]

    live(story)


def test_a_node_says_which_images_it_has_the_largest_first() -> None:
    """At most 50 with five names each, as the kubelet (nodeStatusMaxImages, maxNamesPerImageInNodeStatus)."""
    small = [PresentImage((f"small:{number}",), 5) for number in range(60)]
    large = PresentImage(tuple(f"large:{number}" for number in range(9)), 1 << 30)
    nameless = PresentImage((), 1 << 31)
    images = images_status([*small, nameless, large])
    assert images[0] == {"names": [f"large:{number}" for number in range(5)], "sizeBytes": 1 << 30}
    assert len(images) == 49

    async def story(client: Client, runtime: FakeRuntime, heartbeat: Heartbeat) -> None:
        async def names() -> list[str]:
            node = await client.get(NODES, "n1")
            return [name for image in node["status"]["images"] for name in image["names"]]

        assert await names() == ["docker.io/library/app:1"]
        runtime.images.add("docker.io/library/db:1")
        await asyncio.sleep(SETTINGS.heartbeat_seconds + 1)
        assert await names() == ["docker.io/library/app:1", "docker.io/library/db:1"]

    live(story)


def test_a_node_offers_its_disks_and_network_as_resources_unless_it_is_told_not_to() -> None:
    offered = bandwidth(NodeSettings(disk_read_bps=5, network_egress_bps=0))
    assert offered["kontinuum.dev/disk-read-bps"] == "5"
    assert "kontinuum.dev/network-egress-bps" not in offered
    status = node_status(FACTS, SETTINGS, {}, port=1, problem="", now="")
    for field in ("capacity", "allocatable"):
        assert bandwidth(SETTINGS).items() <= status[field].items()
    assert len(bandwidth(SETTINGS)) == 6


def test_what_others_add_to_the_capacity_pods_may_have_until_it_is_taken_out_again() -> None:
    async def story(client: Client, runtime: FakeRuntime, heartbeat: Heartbeat) -> None:
        offer = {"capacity": {"example.com/fakecpu": "1k"}}
        await client.patch(NODES, "n1", {"status": offer}, subresource="status")
        await asyncio.sleep(SETTINGS.heartbeat_seconds + 1)
        status = (await client.get(NODES, "n1"))["status"]
        assert status["allocatable"]["example.com/fakecpu"] == status["capacity"]["example.com/fakecpu"] == "1k"
        withdrawal = {"capacity": {"example.com/fakecpu": None}}
        await client.patch(NODES, "n1", {"status": withdrawal}, subresource="status")
        await asyncio.sleep(SETTINGS.heartbeat_seconds + 1)
        status = (await client.get(NODES, "n1"))["status"]
        assert "example.com/fakecpu" not in {**status["allocatable"], **status["capacity"]}

    live(story)


def test_what_others_overwrite_is_right_again_at_the_next_beat() -> None:
    """Clients patch in a whole empty status where they mean to add one resource."""

    async def story(client: Client, runtime: FakeRuntime, heartbeat: Heartbeat) -> None:
        before = (await client.get(NODES, "n1"))["status"]
        empty = {"daemonEndpoints": {"kubeletEndpoint": {"Port": 0}}, "nodeInfo": dict.fromkeys(before["nodeInfo"], "")}
        await client.patch(NODES, "n1", {"status": empty}, subresource="status")
        await asyncio.sleep(SETTINGS.heartbeat_seconds + 1)
        after = (await client.get(NODES, "n1"))["status"]
        assert {key: after[key] for key in empty} == {key: before[key] for key in empty}

    live(story)
