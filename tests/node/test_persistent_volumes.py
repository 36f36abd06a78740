"""Claims on this node: found, mounted where they are, refused where they cannot be; directories end when told."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from tests.node.world import volume_context

from kontinuum.api.kontinuum.host_path import PROVISIONER
from kontinuum.api.kubernetes.resources import NODES, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, RUNTIMECLASSES
from kontinuum.api.machinery.objects import Object, annotations_of
from kontinuum.client.rest import Client
from kontinuum.client.transport.fake import FakeApi
from kontinuum.foundation import process, virtual_time
from kontinuum.foundation.clock import VirtualClock
from kontinuum.foundation.tasks import cancel
from kontinuum.node import pods
from kontinuum.node.container_mounts import volume_devices, volume_mounts
from kontinuum.node.erasing import Eraser
from kontinuum.node.settings import NodeSettings
from kontinuum.node.sources import Sources
from kontinuum.node.volumes import growth, loop, mounting, provisioned
from kontinuum.node.volumes.context import CannotMount

BOUND = {"pv.kubernetes.io/bind-completed": "yes"}
MOUNTING = {"name": "main", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}


def a_pod(**spec: Any) -> Object:
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}]
    metadata = {"name": "p", "namespace": "default", "uid": "u"}
    return {"metadata": metadata, "spec": {"containers": [MOUNTING], "volumes": volumes, **spec}}


def prepare(tmp_path: Path, volume: Object | None, *, bound: bool = True, **spec: Any) -> Path:
    """Where the pod's volume is, with this volume behind its claim."""

    async def main() -> Path:
        clock = VirtualClock()
        client = FakeApi(clock).client()
        claim: Object = {"metadata": {"name": "c", "namespace": "default", "annotations": BOUND if bound else {}}}
        claim = await client.create(PERSISTENTVOLUMECLAIMS, {**claim, "spec": {"volumeName": "v"}})
        await client.update(PERSISTENTVOLUMECLAIMS, {**claim, "status": {"phase": "Bound"}}, subresource="status")
        if volume is not None:
            reference = {"namespace": "default", "name": "c", "uid": claim["metadata"]["uid"]}
            spec_of = {"claimRef": reference, **volume["spec"]}
            await client.create(PERSISTENTVOLUMES, {"metadata": {"name": "v", **volume["metadata"]}, "spec": spec_of})
        await client.create(RUNTIMECLASSES, {"metadata": {"name": "hardened"}, "handler": "microvm"})
        context = volume_context(a_pod(**spec), sources=Sources(client, clock))
        return (await mounting.prepare(context, tmp_path / "pod"))["data"]

    return virtual_time.run(main)


def test_a_volume_that_no_container_uses_keeps_no_pod_waiting(tmp_path: Path) -> None:
    pod = a_pod(containers=[{"name": "main"}])
    assert asyncio.run(mounting.prepare(volume_context(pod), tmp_path)) == {}
    looking = {"name": "visitor", "volumeDevices": [{"name": "data", "devicePath": "/dev/x"}]}
    file = {"name": "main", "env": [{"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "data"}}}]}
    for used in ({"ephemeralContainers": [looking]}, {"initContainers": [MOUNTING]}, {"containers": [file]}):
        assert pods.used_volumes(a_pod(**{"containers": [], **used})) == {"data"}


def ours(path: Path) -> Object:
    metadata = {"annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}}
    spec = {"hostPath": {"path": str(path), "type": "DirectoryOrCreate"}, "capacity": {"storage": "64Mi"}}
    return {"metadata": metadata, "spec": spec}


def test_a_provisioned_volume_reaches_a_machine_as_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[Path, int]] = []

    async def have(place: Path, size_bytes: int, *, is_for_machine: bool) -> Path:
        assert is_for_machine
        made.append((place, size_bytes))
        place.mkdir(parents=True)
        with (place / "disk").open("wb") as image:
            image.truncate(size_bytes)
        return place / "disk"

    monkeypatch.setattr(provisioned, "have", have)
    place = tmp_path / "volumes" / "v"
    where = prepare(tmp_path, ours(place), runtimeClassName="hardened", securityContext={"fsGroup": 2000})
    assert (where, made) == (tmp_path / "pod/volumes/data", [(place, 64 << 20)])
    told = json.loads(where.with_name("data.disk").read_text())
    assert told == {"image": str(place / "disk"), "fileSystem": "ext4", "group": 2000}


def test_a_volume_from_when_volumes_were_directories_stays_one(tmp_path: Path) -> None:
    place = tmp_path / "volumes" / "v"
    place.mkdir(parents=True)
    (place / "data").write_text("kept")
    place.chmod(0o700)
    assert prepare(tmp_path, ours(place)) == place
    assert ((place / "data").read_text(), place.stat().st_mode & 0o777) == ("kept", 0o700)
    mounting.remove(tmp_path / "pod")  # The pod's end is not the volume's.
    assert (place / "data").read_text() == "kept"
    with pytest.raises(CannotMount, match="is a directory of this node, and the isolation class microvm needs a disk"):
        prepare(tmp_path, ours(place), runtimeClassName="hardened")


def test_an_image_is_made_once_and_grows_with_its_claim(tmp_path: Path) -> None:
    """It is empty, and everybody's; too small a claim gets what a file system needs."""
    place = tmp_path / "v"
    image = asyncio.run(provisioned.have(place, 1, is_for_machine=False))
    assert image.stat().st_size == provisioned.LEAST_BYTES
    inode = image.stat().st_ino
    said = asyncio.run(process.run("debugfs", "-R", "stat /", image, timeout=60)).text
    assert "Mode:  0777" in said
    assert asyncio.run(provisioned.have(place, 32 << 20, is_for_machine=False)) == image
    assert (image.stat().st_ino, image.stat().st_size) == (inode, 32 << 20)
    assert asyncio.run(provisioned.have(place, 1, is_for_machine=False)).stat().st_size == 32 << 20, "it never shrinks"


@pytest.mark.parametrize("repairable", [True, False])
def test_a_volume_that_has_seen_a_full_disk_is_repaired_before_it_grows_and_never_lost_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repairable: bool
) -> None:
    """Linux enlarges a mounted file system only as long as that has seen no error."""
    monkeypatch.setattr(provisioned, "_may_grow_mounted", lambda: True)
    image = asyncio.run(provisioned.have(tmp_path / "v", 1, is_for_machine=False))
    asyncio.run(process.run("debugfs", "-w", "-R", "set_super_value state 3", image, timeout=60))
    if not repairable:
        # A directory that no inode is: nothing that may be mended without being asked.
        asyncio.run(process.run("debugfs", "-w", "-R", "clri <2>", image, timeout=60))
    with nullcontext() if repairable else pytest.raises(provisioned.NotEnlarged, match=f"run e2fsck on {image}: "):
        asyncio.run(provisioned.have(tmp_path / "v", 32 << 20, is_for_machine=False))
    assert provisioned.is_filled(tmp_path / "v") is repairable
    with image.open("rb") as file:
        assert provisioned._grows_mounted(file.fileno()) is repairable


def test_a_volume_grows_by_less_than_a_group_of_blocks_too(tmp_path: Path) -> None:
    image = asyncio.run(provisioned.have(tmp_path, 32 << 20, is_for_machine=False))
    assert provisioned.is_filled(tmp_path)
    os.truncate(image, 36 << 20)
    assert not provisioned.is_filled(tmp_path)
    asyncio.run(provisioned.have(tmp_path, 36 << 20, is_for_machine=False))
    assert provisioned.is_filled(tmp_path)


def test_a_superblock_that_a_guest_has_made_up_fills_nothing(tmp_path: Path) -> None:
    (tmp_path / provisioned.IMAGE).write_bytes(b"\xff" * 4096)
    assert not provisioned.is_filled(tmp_path)


PENDING = {"type": "FileSystemResizePending", "status": "True"}


class Growing:
    """A claim of 16Mi that has the volume ``place``, which is to have 64Mi."""

    def __init__(self, tmp_path: Path, **spec: Any) -> None:
        """``spec`` is more of the volume's."""
        self.place = tmp_path / "v"
        self.told: list[str] = []
        self._pods = tmp_path / "pods"
        self._spec = spec
        self._clock = VirtualClock()
        self._client = FakeApi(self._clock).client()

    async def create(self) -> None:
        metadata = {"name": "c", "namespace": "default", "annotations": BOUND}
        claim = await self._client.create(PERSISTENTVOLUMECLAIMS, {"metadata": metadata, "spec": {"volumeName": "v"}})
        status = {"phase": "Bound", "capacity": {"storage": "16Mi"}, "conditions": [PENDING]}
        await self._client.update(PERSISTENTVOLUMECLAIMS, {**claim, "status": status}, subresource="status")
        reference = {"namespace": "default", "name": "c", "uid": claim["metadata"]["uid"]}
        volume = ours(self.place)
        metadata, spec = {"name": "v", **volume["metadata"]}, {**volume["spec"], "claimRef": reference, **self._spec}
        await self._client.create(PERSISTENTVOLUMES, {"metadata": metadata, "spec": spec})
        await self._client.create(RUNTIMECLASSES, {"metadata": {"name": "hardened"}, "handler": "microvm"})

    async def prepare(self, pod: str = "p", **spec: Any) -> Object:
        """The claim's status after the pod's volumes were looked at, for the first time or again."""

        def tell(*event: str) -> None:
            self.told.append(" ".join(event))

        context = volume_context(a_pod(**spec), sources=Sources(self._client, self._clock), tell=tell)
        await mounting.prepare(context, self._pods / pod)
        found = await self._client.get(PERSISTENTVOLUMECLAIMS, "c", namespace="default")
        now: Object = found["status"]
        return now


def is_told_why(status: Object, why: str) -> bool:
    """Whether the claim has its old capacity, and why."""
    kept, failed = status["conditions"]
    assert (status["capacity"], kept) == ({"storage": "16Mi"}, PENDING)
    assert (failed["type"], failed["status"]) == ("NodeResizeError", "True")
    return bool(failed["message"].startswith(f"failed to expand pvc with {why}"))


def has_grown(status: Object) -> bool:
    return bool(status["capacity"] == {"storage": "64Mi"} and not status.get("conditions"))


def test_a_claim_whose_file_system_has_not_grown_keeps_its_capacity_and_is_told_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it has: every pod that begins with the volume tries again."""
    for step in ("show", "grow"):
        monkeypatch.setattr(provisioned, step, lambda *_: None)
    monkeypatch.setattr(provisioned, "_may_grow_mounted", lambda: False)
    claim = Growing(tmp_path)

    async def main() -> None:
        await claim.create()
        image = await provisioned.have(claim.place, 16 << 20, is_for_machine=False)
        whole = image.read_bytes()
        image.write_bytes(whole[:2048] + bytes(1 << 20) + whole[2048 + (1 << 20) :])
        for _ in range(2):
            assert is_told_why(await claim.prepare(), f"run e2fsck on {image}: ")
        assert len(claim.told) == 2
        why = 'Warning VolumeResizeFailed NodeExpandVolume failed for volume "v" : run e2fsck on '
        assert claim.told[0].startswith(why)
        image.write_bytes(whole)
        assert has_grown(await claim.prepare()) and len(claim.told) == 2

    asyncio.run(main())


def test_a_disk_for_which_a_machine_waits_grows_before_it_has_it(tmp_path: Path) -> None:
    """It was described when somebody else had the disk, under whom it would have grown for nobody."""
    claim = Growing(tmp_path)

    async def main() -> None:
        await claim.create()
        image = await provisioned.have(claim.place, 16 << 20, is_for_machine=True)
        with image.open("rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            for _ in range(2):
                status = await claim.prepare(runtimeClassName="hardened")
                assert (status["conditions"], image.stat().st_size) == ([PENDING], 16 << 20)
        status = await claim.prepare(runtimeClassName="hardened")
        assert (status["conditions"], image.stat().st_size) == ([PENDING], 64 << 20)
        await process.run("resize2fs", image, timeout=60)  # As its machine's kernel does.
        assert has_grown(await claim.prepare(runtimeClassName="hardened"))
        assert claim.told == []

    asyncio.run(main())


def test_a_claim_is_told_that_its_machine_s_kernel_refuses_to_enlarge(tmp_path: Path) -> None:
    """As Linux does with a file system that has seen an error. Each pod is told once, however often it is looked at."""
    claim = Growing(tmp_path)

    async def main() -> None:
        await claim.create()
        image = await provisioned.have(claim.place, 16 << 20, is_for_machine=True)
        assert (await claim.prepare("first", runtimeClassName="hardened"))["conditions"] == [PENDING]
        # Its kernel found the error in the journal, when it mounted the disk.
        await process.run("debugfs", "-w", "-R", "set_super_value state 3", image, timeout=60)
        why = f"run e2fsck on {image} when no pod has it: its file system has seen an error"
        for pod, events in (("first", 1), ("first", 1), ("second", 2), ("second", 2)):
            assert is_told_why(await claim.prepare(pod, runtimeClassName="hardened"), why)
            assert len(claim.told) == events
        assert claim.told[0] == f'Warning VolumeResizeFailed NodeExpandVolume failed for volume "v" : {why}'
        await process.run("e2fsck", "-f", "-p", image, timeout=60, check=False)
        assert (await claim.prepare("third", runtimeClassName="hardened"))["capacity"] == {"storage": "16Mi"}
        await process.run("resize2fs", image, timeout=60)
        assert has_grown(await claim.prepare("third", runtimeClassName="hardened"))
        assert len(claim.told) == 2

    asyncio.run(main())


def test_a_block_device_that_did_not_see_its_new_size_is_told_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its image is longer already: the claim has grown when the device has."""
    claim, device, asked = Growing(tmp_path, volumeMode="Block"), Path("/dev/loop77"), list[Path]()
    sizes = {device: (16 << 20) // loop.SECTOR_BYTES}
    monkeypatch.setattr(loop, "showing", lambda file: device)
    monkeypatch.setattr(loop, "sectors", sizes.get)

    def see_new_size(device: Path) -> None:
        asked.append(device)
        if len(asked) < 3:
            raise OSError(errno.EAGAIN, "not now")
        sizes[device] = (claim.place / provisioned.IMAGE).stat().st_size // loop.SECTOR_BYTES

    monkeypatch.setattr(loop, "see_new_size", see_new_size)
    use = {"name": "main", "volumeDevices": [{"name": "data", "devicePath": "/dev/own"}]}

    async def main() -> None:
        await claim.create()
        for tries in (1, 2):
            status = await claim.prepare(containers=[use])
            assert is_told_why(status, f"the device {device} of {claim.place / 'disk'}: ")
            assert len(claim.told) == len(asked) == tries
        for _ in range(2):
            assert has_grown(await claim.prepare(containers=[use]))
        assert len(claim.told) == 2 and len(asked) == 3

    asyncio.run(main())


def test_a_claim_is_told_when_it_has_grown() -> None:
    volume = {"spec": {"capacity": {"storage": "2Gi"}}}
    conditions = [{"type": "FileSystemResizePending", "status": "True"}, {"type": "Other", "status": "True"}]
    status = {"capacity": {"storage": "1Gi"}, "conditions": conditions}
    told = growth.news({"metadata": {"resourceVersion": "7"}, "status": status}, volume)
    assert told == {
        "metadata": {"resourceVersion": "7"},
        "status": {"capacity": {"storage": "2Gi"}, "conditions": [{"type": "Other", "status": "True"}]},
    }
    assert growth.news({"metadata": {}, "status": {"capacity": {"storage": "2048Mi"}}}, volume) is None


def test_an_image_whose_making_was_cut_off_is_made_again(tmp_path: Path) -> None:
    (tmp_path / ".disk").write_bytes(b"half")
    image = asyncio.run(provisioned.have(tmp_path, 1, is_for_machine=True))
    assert [one.name for one in tmp_path.iterdir()] == [image.name]


def test_a_local_volume_must_be_there(tmp_path: Path) -> None:
    local: Object = {"metadata": {}, "spec": {"local": {"path": str(tmp_path / "disk")}}}
    with pytest.raises(CannotMount, match="is not a directory of this node"):
        prepare(tmp_path, local)
    (tmp_path / "disk").mkdir()
    assert prepare(tmp_path, local) == tmp_path / "disk"


@pytest.mark.parametrize(
    ("volume", "more", "problem"),
    [
        (None, {}, 'persistentvolume "v" not found'),
        ({"metadata": {}, "spec": {"hostPath": {"path": "/"}}}, {"bound": False}, "PVC is not bound"),
        ({"metadata": {}, "spec": {"nfs": {"server": "s"}}}, {}, "volumes of type nfs are not supported on this node"),
        ({"metadata": {}, "spec": {"hostPath": {"path": "/"}, "volumeMode": "Block"}}, {}, "block volumes are not"),
        (
            {"metadata": {}, "spec": {"hostPath": {"path": "/"}, "claimRef": {"namespace": "default", "name": "d"}}},
            {},
            "PV v is not bound to it",
        ),
        (
            {"metadata": {}, "spec": {"hostPath": {"path": "/"}}},
            {"runtimeClassName": "hardened"},
            "is a directory of this node, and the isolation class microvm needs a disk",
        ),
    ],
)
def test_what_cannot_be_mounted_is_refused_by_name(
    tmp_path: Path, volume: Object | None, more: dict[str, Any], problem: str
) -> None:
    with pytest.raises(CannotMount, match=problem) as caught:
        prepare(tmp_path, volume, **more)
    assert str(caught.value).startswith('MountVolume.SetUp failed for volume "data" : ')


@pytest.mark.parametrize(
    ("mode", "container", "problem"),
    [
        (
            "Block",
            {"volumeMounts": [{"name": "data"}]},
            "volume data has volumeMode Block, but is specified in volumeMounts",
        ),
        (
            "Filesystem",
            {"volumeDevices": [{"name": "data"}]},
            "has volumeMode Filesystem, but is specified in volumeDevices",
        ),
    ],
)
def test_files_are_mounted_and_devices_are_had(tmp_path: Path, mode: str, container: Object, problem: str) -> None:
    volume = ours(tmp_path / "v")
    volume["spec"]["volumeMode"] = mode
    with pytest.raises(CannotMount, match=problem):
        prepare(tmp_path, volume, containers=[{"name": "main", **container}])


def test_a_machine_is_told_of_a_disk_and_its_container_has_it_where_it_says(tmp_path: Path) -> None:
    volume = ours(tmp_path / "v")
    volume["spec"]["volumeMode"] = "Block"
    use = {"volumeDevices": [{"name": "data", "devicePath": "/dev/own"}]}
    where = prepare(tmp_path, volume, runtimeClassName="hardened", containers=[{"name": "main", **use}])
    assert json.loads(where.with_name("data.disk").read_text()) == {"image": str(tmp_path / "v/disk")}
    assert (tmp_path / "v/disk").stat().st_size == 64 << 20
    devices, mounts = volume_devices({"name": "main", **use}, [], {"data": where})
    assert (devices, mounts) == ([], [{"container_path": "/dev/own", "host_path": str(where), "readonly": False}])


def test_a_claim_that_is_used_for_reading_only_is_mounted_so() -> None:
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "c", "readOnly": True}}]
    container = {"name": "main", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    [mount] = volume_mounts(container, volumes, {"data": Path("/somewhere")}, {})
    assert mount["readonly"]


def test_a_directory_is_erased_when_told_and_the_question_removed_after_it(tmp_path: Path) -> None:
    settings = NodeSettings(name="n", data_dir=str(tmp_path))
    for name in ("pvc-1", "pvc-2"):
        (settings.volumes / name / "deep").mkdir(parents=True)

    async def main() -> None:
        clock = VirtualClock()
        client: Client = FakeApi(clock).client()
        await client.create(NODES, {"metadata": {"name": "n"}})
        task = asyncio.create_task(Eraser(client, clock, settings, "n").run())
        annotations = {"erase.kontinuum.dev/pvc-1": "", "erase.kontinuum.dev/pvc-gone": "", "other": "stays"}
        await client.patch(NODES, "n", {"metadata": {"annotations": annotations}})
        for _ in range(500):
            await asyncio.sleep(0.01)
            if annotations_of(await client.get(NODES, "n")) == {"other": "stays"}:
                break
        assert annotations_of(await client.get(NODES, "n")) == {"other": "stays"}
        await cancel(task)

    asyncio.run(main())
    assert [one.name for one in settings.volumes.iterdir()] == ["pvc-2"]


@pytest.mark.parametrize("name", ["", ".", "..", "../data", "a/b", ".erasing-x", "link"])
def test_nothing_else_is_ever_erased(tmp_path: Path, name: str) -> None:
    root = tmp_path / "volumes"
    (root / "a" / "b").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (root / "link").symlink_to(tmp_path / "data")
    with pytest.raises(provisioned.NotAVolume):
        provisioned.erase(root, name)
    assert (root / "a" / "b").is_dir() and (tmp_path / "data").is_dir()


def test_a_volume_that_was_half_erased_is_erased_to_the_end(tmp_path: Path) -> None:
    (tmp_path / ".erasing-v" / "rest").mkdir(parents=True)
    provisioned.erase(tmp_path, "v")
    assert list(tmp_path.iterdir()) == []
