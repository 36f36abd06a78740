"""Volumes: copied once, shared, kept fresh, and refused when they are too large."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.tasks import cancel
from kontinuum.runtime.guest.fake import FakeGuest
from kontinuum.runtime.guest.port import FILE_LIMIT, GuestRefused
from kontinuum.runtime.oci import SpecRefused
from kontinuum.runtime.volumes import Volumes, fingerprint, room_of, unbound

LIMIT = 1 << 20


async def no_slots(slot: str) -> None:
    raise AssertionError(f"{slot} is no slot")


async def no_disks(image: Path) -> str:
    raise AssertionError(f"{image} is no disk")


def copies(guest: Path) -> tuple[FakeGuest, Volumes]:
    """Of a machine that is given no disks."""
    return FakeGuest(guest), Volumes(limit_bytes=LIMIT, attach=no_disks, detach=no_slots)


def bind(source: Path, *options: str, destination: str = "/data") -> dict[str, Any]:
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["rbind", *options]}


def project(directory: Path, version: str, content: str) -> None:
    """What Kubernetes' AtomicWriter does: a new directory, then one rename of a link."""
    (directory / version).mkdir(parents=True)
    (directory / version / "key").write_text(content)
    (directory / "..new").symlink_to(version)
    (directory / "..new").rename(directory / "..data")
    if not (directory / "key").is_symlink():
        (directory / "key").symlink_to("..data/key")


def inside(guest: FakeGuest, place: str) -> Path:
    return guest.trees / place.lstrip("/")


async def test_two_containers_share_the_one_copy_of_a_source(tmp_path: Path) -> None:
    source = tmp_path / "shared"
    source.mkdir()
    guest, volumes = copies(tmp_path / "guest")
    first, second = await asyncio.gather(
        volumes.provide(guest, [bind(source)]), volumes.provide(guest, [bind(source, "ro")])
    )
    assert first == second
    (inside(guest, first[str(source)]) / "written").write_text("by the pod")
    assert await volumes.provide(guest, [bind(source)]) == first
    assert (inside(guest, first[str(source)]) / "written").read_text() == "by the pod"


async def test_a_file_system_of_its_own_has_no_more_room_than_on_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who writes nothing there needs no limit, and the pod's shared memory is the machine's."""
    source = tmp_path / "memory"
    source.mkdir(mode=0o777)
    monkeypatch.setattr("kontinuum.runtime.volumes.room_of", {source: 5 << 20}.get)
    guest, volumes = copies(tmp_path / "guest")
    place = (await volumes.provide(guest, [bind(source)]))[str(source)]
    assert guest.memories == {place: 5 << 20}
    assert inside(guest, place).is_dir()

    guest, volumes = copies(tmp_path / "other")
    await volumes.provide(guest, [bind(source, "ro"), bind(tmp_path)])
    assert not guest.memories
    guest, volumes = copies(tmp_path / "third")
    await volumes.provide(guest, [bind(source, destination="/dev/shm")])
    assert not guest.memories


async def test_memory_for_what_could_not_be_written_to_it_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be mounted again on top of it, at the next try."""
    source = tmp_path / "memory"
    source.mkdir()
    monkeypatch.setattr("kontinuum.runtime.volumes.room_of", {source: 5 << 20}.get)
    guest, volumes = copies(tmp_path / "guest")

    async def refuse(path: str, archive: bytes) -> None:
        raise GuestRefused(f"write {path}: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(guest, "write_tree", refuse)
        with pytest.raises(GuestRefused, match="No space left"):
            await volumes.provide(guest, [bind(source)])
    assert not guest.memories
    await volumes.provide(guest, [bind(source)])
    assert len(guest.memories) == 1


async def test_a_volume_that_vanishes_before_its_room_is_looked_at_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanished(source: Path) -> int | None:
        raise FileNotFoundError(2, "No such file or directory", str(source))

    monkeypatch.setattr("kontinuum.runtime.volumes.room_of", vanished)
    guest, volumes = copies(tmp_path / "guest")
    with pytest.raises(SpecRefused, match=r"mount /data: .*No such file or directory"):
        await volumes.provide(guest, [bind(tmp_path)])


def test_room_is_that_of_the_file_system_that_begins_there(tmp_path: Path) -> None:
    assert room_of(tmp_path) is None
    assert room_of(tmp_path / "missing") is None
    assert room_of(Path("/proc")) is None
    about = os.statvfs("/dev")
    assert room_of(Path("/dev")) == about.f_blocks * about.f_frsize


async def test_parts_of_a_pods_volume_are_parts_of_one_copy(tmp_path: Path) -> None:
    """In whatever order they are mounted: a log's writer mounts a directory of the volume that its reader has whole."""
    volume = tmp_path / "pods/uid/volumes/logs"
    (volume / "a").mkdir(parents=True)
    guest, volumes = copies(tmp_path / "guest")
    part = (await volumes.provide(guest, [bind(volume / "a")]))[str(volume / "a")]
    whole = (await volumes.provide(guest, [bind(volume)]))[str(volume)]
    assert part == f"{whole}/a"
    written = inside(guest, part) / "by-a-container"
    written.write_text("x")
    (volume / "late").mkdir()
    late = (await volumes.provide(guest, [bind(volume / "late"), bind(volume / "a")]))[str(volume / "late")]
    assert late == f"{whole}/late"
    assert written.read_text() == "x"
    kubelet = tmp_path / "pods/uid/volumes/kubernetes.io~empty-dir/cache/x"
    kubelet.mkdir(parents=True)
    (place,) = (await volumes.provide(guest, [bind(kubelet)])).values()
    assert place.endswith("/x")


async def test_a_part_that_a_kubelet_has_bound_elsewhere_is_found_in_its_volume(tmp_path: Path) -> None:
    """A link stands for the kubelet's bind mount: both lead to the same inode."""
    pod = tmp_path / "pods/uid"
    volume, settings = pod / "volumes/kubernetes.io~empty-dir/cache", pod / "volumes/kubernetes.io~configmap/settings"
    (volume / "a/b").mkdir(parents=True)
    (volume / "a/file").write_text("x")
    project(settings, "..1", "old")
    parts = [bound(pod, "cache", 0, volume / "a/b"), bound(pod, "cache", 1, volume / "a/file")]
    of_settings = bound(pod, "settings", 2, settings / "key")
    guest, volumes = copies(tmp_path / "guest")
    first, second = [(await volumes.provide(guest, [bind(part)]))[str(part)] for part in parts]
    whole = (await volumes.provide(guest, [bind(volume)]))[str(volume)]
    assert (first, second) == (f"{whole}/a/b", f"{whole}/a/file")
    (alone,) = (await volumes.provide(guest, [bind(of_settings, "ro")])).values()
    (all_of_them,) = (await volumes.provide(guest, [bind(settings, "ro")])).values()
    assert not alone.startswith(all_of_them) and inside(guest, alone).read_text() == "old"
    nobodys = bound(pod, "gone", 3, tmp_path)
    assert unbound(nobodys) == nobodys


def bound(pod: Path, volume: str, number: int, part: Path) -> Path:
    place = pod / "volume-subpaths" / volume / "main" / str(number)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(part)
    return place


async def test_a_file_lies_in_the_guest_under_its_own_name(tmp_path: Path) -> None:
    source = tmp_path / "resolv.conf"
    source.write_text("nameserver 10.96.0.10\n")
    guest, volumes = copies(tmp_path / "guest")
    places = await volumes.provide(guest, [bind(source)])
    assert places[str(source)].endswith("/resolv.conf")
    assert inside(guest, places[str(source)]).read_text() == "nameserver 10.96.0.10\n"


async def test_a_read_only_volume_is_copied_again_when_its_host_directory_changed(tmp_path: Path) -> None:
    source = tmp_path / "config"
    project(source, "..1", "old")
    guest, volumes = copies(tmp_path / "guest")
    place = inside(guest, (await volumes.provide(guest, [bind(source, "ro")]))[str(source)])
    assert (place / "key").read_text() == "old"
    assert (place / "..data").is_symlink()
    keeping = asyncio.create_task(volumes.keep_fresh(guest, every=0.005, clock=RealClock()))
    project(source, "..2", "new")
    async with asyncio.timeout(30):
        while not (place / "key").exists() or (place / "key").read_text() != "new":
            await asyncio.sleep(0.005)
    await cancel(keeping)


async def test_what_the_pod_may_write_is_never_overwritten_from_the_host(tmp_path: Path) -> None:
    source = tmp_path / "scratch"
    source.mkdir()
    guest, volumes = copies(tmp_path / "guest")
    place = inside(guest, (await volumes.provide(guest, [bind(source)]))[str(source)])
    keeping = asyncio.create_task(volumes.keep_fresh(guest, every=0.001, clock=RealClock()))
    (place / "mine").write_text("kept")
    (source / "theirs").write_text("late")
    await asyncio.sleep(0.05)
    await cancel(keeping)
    assert (place / "mine").read_text() == "kept"


async def test_files_that_a_container_wrote_for_the_host_are_brought_back_and_others_are_not(tmp_path: Path) -> None:
    word, fixed, scratch = tmp_path / "termination-log", tmp_path / "resolv.conf", tmp_path / "scratch"
    word.touch()
    fixed.write_text("the host's")
    scratch.mkdir()
    mounts = [bind(word), bind(fixed, "ro"), bind(scratch)]
    guest, volumes = copies(tmp_path / "guest")
    places = await volumes.provide(guest, mounts)
    inode = word.stat().st_ino
    inside(guest, places[str(word)]).write_text("out of luck")
    inside(guest, places[str(fixed)]).write_text("the guest's")
    (inside(guest, places[str(scratch)]) / "file").touch()
    await volumes.bring_back(guest, mounts)
    assert (word.read_text(), fixed.read_text(), list(scratch.iterdir())) == ("out of luck", "the host's", [])
    assert word.stat().st_ino == inode, "who has the file mounted must see it too"


async def test_what_is_on_a_disk_is_not_brought_back_into_the_file_that_stands_for_it(tmp_path: Path) -> None:
    async def attach(image: Path) -> str:
        return "slot0"

    source = tmp_path / "pods" / "uid" / "volumes" / "data"
    source.parent.mkdir(parents=True)
    source.touch()
    source.with_name("data.disk").write_text('{"image": "/disk"}')
    guest = FakeGuest(tmp_path / "guest")
    volumes = Volumes(limit_bytes=LIMIT, attach=attach, detach=no_slots)
    device = inside(guest, (await volumes.provide(guest, [bind(source)]))[str(source)])
    device.parent.mkdir(parents=True)
    device.write_text("on the disk")
    await volumes.bring_back(guest, [bind(source)])
    assert source.read_text() == ""


async def test_a_file_that_the_guest_has_lost_leaves_the_hosts_alone(tmp_path: Path) -> None:
    word = tmp_path / "termination-log"
    word.write_text("before")
    guest, volumes = copies(tmp_path / "guest")
    inside(guest, (await volumes.provide(guest, [bind(word)]))[str(word)]).unlink()
    await volumes.bring_back(guest, [bind(word)])
    assert word.read_text() == "before"


async def test_a_file_too_long_to_bring_back_whole_leaves_the_hosts_alone(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.write_text("before")
    guest, volumes = copies(tmp_path / "guest")
    inside(guest, (await volumes.provide(guest, [bind(ledger)]))[str(ledger)]).write_bytes(bytes(FILE_LIMIT + 1))
    await volumes.bring_back(guest, [bind(ledger)])
    assert ledger.read_text() == "before"


async def test_a_file_that_the_host_has_changed_meanwhile_stays_the_hosts(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.write_text("before")
    guest, volumes = copies(tmp_path / "guest")
    inside(guest, (await volumes.provide(guest, [bind(ledger)]))[str(ledger)]).write_text("the guest's")
    ledger.write_text("the host's, and newer")
    await volumes.bring_back(guest, [bind(ledger)])
    assert ledger.read_text() == "the host's, and newer"


async def test_shared_memory_is_the_machines_own(tmp_path: Path) -> None:
    source = tmp_path / "shm"
    source.mkdir()
    (source / "of-the-host").write_text("x")
    guest, volumes = copies(tmp_path / "guest")
    places = await volumes.provide(guest, [bind(source, destination="/dev/shm")])
    assert list(inside(guest, places[str(source)]).iterdir()) == []


async def test_a_volume_that_is_too_large_or_missing_is_refused_by_name(tmp_path: Path) -> None:
    source = tmp_path / "large"
    source.mkdir()
    with (source / "file").open("wb") as file:
        file.truncate(LIMIT + 1)
    guest, volumes = copies(tmp_path / "guest")
    with pytest.raises(SpecRefused, match=f"large holds {LIMIT + 1} bytes"):
        await volumes.provide(guest, [bind(source)])
    with pytest.raises(SpecRefused, match="/data"):
        await volumes.provide(guest, [bind(tmp_path / "nowhere")])


def test_a_fingerprint_changes_with_content_links_and_modes(tmp_path: Path) -> None:
    source = tmp_path / "tree"
    project(source, "..1", "old")
    seen = {fingerprint(source)}
    (source / "..1" / "key").chmod(0o600)
    seen.add(fingerprint(source))
    os.utime(source / "..1" / "key", (1, 1))
    seen.add(fingerprint(source))
    project(source, "..2", "old")
    seen.add(fingerprint(source))
    assert len(seen) == 4
    assert fingerprint(tmp_path / "nowhere") == ()
