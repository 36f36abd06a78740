"""Disks that a machine writes to: one machine at a time, and what was flushed or let go of is there for the next."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest
from tests.machines.guests import MEBIBYTE, MOUNTS, Lab, Running, identity, lab, process_spec

from kontinuum.runtime.guest.port import ContainerSpec, Guest, GuestRefused, Mount, VolumeDisk
from kontinuum.runtime.vmm.port import DiskInUse, Machine

pytestmark = pytest.mark.machine
__all__ = ["lab"]
PLACE = "/run/kontinuum/volumes/0"
WRITTEN = "9798566fbfe9dff45b6ed9a2aafec27f"
"""The digest of what ``WRITE`` writes."""
NOT_WRITTEN = b"Input/output error", b"No space left on device"
"""What a program is told whose data the host has no room for: by Debian 12's kernel in QEMU 7, by 13's in QEMU 10."""
WRITE = "yes abcdefgh | head -c 20m > /big"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(32 * MEBIBYTE)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", path], check=True)
    return path


def taken(path: Path) -> int:
    """What a file takes of the disk, in bytes."""
    return path.stat().st_blocks * 512


async def with_volume(lab: Lab, machine: Machine, guest: Guest, disk: str, *, group: int | None = None) -> Running:
    """A container that has the disk at /data."""
    await guest.mount_disk(VolumeDisk(disk, "ext4", PLACE, group=group))
    slot = await machine.attach_disk(lab.image, read_only=True)
    await guest.add_container(
        ContainerSpec("main", slot, "erofs", (*MOUNTS, Mount("/data", "bind", PLACE, ("rbind",))))
    )
    await guest.start_process(process_spec("sleep", "1000"))
    return Running(machine, guest, slot)


async def test_what_a_machine_writes_to_a_disk_is_the_next_one_s(lab: Lab, image: Path) -> None:
    async with lab.machine("first") as (machine, guest):
        await guest.identify(identity())
        running = await with_volume(lab, machine, guest, await machine.attach_disk(image, read_only=False), group=2000)
        assert (await running.shell("stat -c '%g %a' /data; echo kept > /data/file")).words == ["2000", "2775"]
        async with lab.machine("second") as (other, _):
            with pytest.raises(DiskInUse):
                await other.attach_disk(image, read_only=False)
        await guest.remove_container("main")
        await guest.unmount(PLACE)
    with image.open("r+b") as file:
        file.truncate(64 * MEBIBYTE)
    async with lab.machine("third") as (machine, guest):
        await guest.identify(identity())
        running = await with_volume(lab, machine, guest, await machine.attach_disk(image, read_only=False))
        assert (await running.shell("cat /data/file")).words == ["kept"]
        kilobytes = int((await running.shell("df -k /data | tail -1")).words[1])
        assert kilobytes > 48 << 10, "the file system fills its disk, which has grown"
        # Flushed is kept, even if the machine then ends without a word.
        assert (await running.shell("echo flushed | dd of=/data/flushed conv=fsync")).exit.status == 0
        await machine.kill()
    repaired = subprocess.run(["e2fsck", "-p", image], capture_output=True, text=True, check=False)
    assert repaired.returncode in (0, 1), repaired.stdout
    checked = subprocess.run(["debugfs", "-R", "cat flushed", image], capture_output=True, text=True, check=True)
    assert checked.stdout == "flushed\n"


async def test_a_machine_takes_more_images_than_it_has_slots(lab: Lab) -> None:
    async with lab.machine() as (machine, guest):
        await guest.identify(identity())
        places = [await machine.attach_disk(lab.image, read_only=True) for _ in range(6)]
        assert len(set(places)) == len(places)
        await guest.add_container(ContainerSpec("main", places[-1], "erofs", MOUNTS))
        await guest.start_process(process_spec("sleep", "1000"))
        running = Running(machine, guest, places[-1])
        assert (await running.shell("echo here")).words == ["here"]
        await guest.remove_container("main")
        for place in places:
            await machine.detach_disk(place)
        assert await machine.attach_disk(lab.image, read_only=True) == places[0]


async def test_a_disk_that_is_no_file_system_is_refused_by_name(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "noise"
    path.write_bytes(b"noise" * 1000 + bytes(MEBIBYTE - 5000))
    async with lab.machine() as (machine, guest):
        await guest.identify(identity())
        disk = await machine.attach_disk(path, read_only=False)
        with pytest.raises(GuestRefused, match="mount ext4"):
            await guest.mount_disk(VolumeDisk(disk, "ext4", PLACE))
        await machine.detach_disk(disk)
        assert await machine.attach_disk(path, read_only=False) == disk, "it was let go of"


async def test_a_full_disk_of_the_host_is_an_error_for_who_writes_and_holds_nobody_up(lab: Lab, tmp_path: Path) -> None:
    """The image may grow beyond the room that there is for it, as images of volumes may."""
    room = tmp_path / "room"
    room.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", room], check=True)
    try:
        image = room / "disk"
        with image.open("wb") as file:
            file.truncate(64 * MEBIBYTE)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", "-J", "size=4", image], check=True)
        async with lab.machine("first") as (machine, guest), asyncio.timeout(300):
            await guest.identify(identity())
            running = await with_volume(lab, machine, guest, await machine.attach_disk(image, read_only=False))
            assert (await running.shell("echo kept > /data/kept; sync")).exit.status == 0
            fill = await running.shell("dd if=/dev/zero of=/data/large bs=1M count=20 conv=fsync")
            assert (fill.exit.status, any(error in fill.stderr for error in NOT_WRITTEN)) == (1, True), fill
            assert (await running.shell("cat /data/kept")).words == ["kept"]
            await guest.remove_container("main")
            with pytest.raises(GuestRefused):
                await guest.unmount(PLACE)  # not all that was written is there, and that is said
        subprocess.run(["mount", "-o", "remount,size=100m", room], check=True)
        async with lab.machine("second") as (machine, guest):
            await guest.identify(identity())
            running = await with_volume(lab, machine, guest, await machine.attach_disk(image, read_only=False))
            assert (await running.shell("cat /data/kept; rm -f /data/large")).words == ["kept"]
            assert (await running.shell("dd if=/dev/zero of=/data/more bs=1M count=20 conv=fsync")).exit.status == 0
            await guest.remove_container("main")
            await guest.unmount(PLACE)
    finally:
        subprocess.run(["umount", "--lazy", room], check=True)


async def test_what_a_container_writes_over_its_image_is_a_file_of_the_host_and_not_its_memory(
    lab: Lab, tmp_path: Path
) -> None:
    """The first container's layer is there from the start, the second's is plugged in, the third's put in its place."""
    places = [tmp_path / str(number) for number in range(3)]
    async with lab.machine() as (machine, guest):
        await guest.identify(identity())
        slot = await machine.attach_disk(lab.image, read_only=True)
        layers = []
        for place, name in zip(places[:2], ("main", "side"), strict=True):
            layers.append(layer := await machine.attach_layer(place))
            limits = {"memory_limit_bytes": 16 * MEBIBYTE, "layer": layer}
            await guest.add_container(ContainerSpec(name, slot, "erofs", MOUNTS, **limits))
            await guest.start_process(process_spec("sleep", "1000", container=name))
        running = Running(machine, guest, slot)
        # Written as a container does that never asks whether it is on the disk; read back when it cannot be in memory.
        written = await running.shell(f"{WRITE}; md5sum < /big; mkdir /d; echo $?")
        assert (written.exit.status, written.words) == (0, [WRITTEN, "-", "0"])
        assert taken(places[0]) > 19 * MEBIBYTE
        assert taken(places[1]) < MEBIBYTE
        assert (await running.shell("echo a > /small; ls /", container="side")).exit.status == 0
        assert (await running.shell("rm /big; sync")).exit.status == 0
        assert taken(places[0]) < 4 * MEBIBYTE, "what was deleted was given back"
        await guest.remove_container("main", layer=layers[0])
        await machine.detach_disk(layers[0])
        assert await machine.attach_layer(places[2]) == layers[0]
        await guest.add_container(ContainerSpec("main", slot, "erofs", MOUNTS, layer=layers[0]))
        await guest.start_process(process_spec("sleep", "1000"))
        assert (await running.shell("ls -d /d; echo new > /new; cat /new")).words == ["new"]
        assert (await running.shell("cat /small", container="side")).words == ["a"]
        for name, layer in zip(("main", "side"), layers, strict=True):
            await guest.remove_container(name, layer=layer)
            await machine.detach_disk(layer)
    for place in places:
        checked = subprocess.run(["e2fsck", "-fn", place], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout


async def test_a_machine_whose_host_is_full_stands_still_and_loses_nothing(lab: Lab, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", small], check=True)
    try:
        async with lab.machine() as (machine, guest):
            await guest.identify(identity())
            slot = await machine.attach_disk(lab.image, read_only=True)
            layer = await machine.attach_layer(small / "layer")
            await guest.add_container(ContainerSpec("main", slot, "erofs", MOUNTS, layer=layer))
            await guest.start_process(process_spec("sleep", "1000"))
            writing = asyncio.create_task(Running(machine, guest, slot).shell(f"{WRITE}; sync; md5sum < /big"))
            async with asyncio.timeout(120):
                await machine.wait_full()
                await machine.resume()
                await machine.wait_full()
                assert not writing.done()
                subprocess.run(["mount", "-o", "remount,size=100m", small], check=True)
                await machine.resume()
                assert (await writing).words[-2:] == [WRITTEN, "-"]
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)
