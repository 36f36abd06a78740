"""A private containerd for machine tests: own directories, socket, bridge and pod CIDR; gone without trace afterwards.

    async with running(settings) as cri: ...

The calling process moves into a private mount namespace first, because volumes must be mounted where containerd runs.
As a program, with a file of settings, it removes what a process of tests that was killed has left.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path

import msgspec
from tests.lifetimes import afterwards, kill, told_of

from kontinuum.images import containerd as image_store
from kontinuum.images.oci import ImageConfig, build_archive
from kontinuum.node import containerd
from kontinuum.node.cri import CriClient
from kontinuum.node.settings import NodeSettings
from kontinuum.node.teardown import remove_host_state, stop_every_pod

CLONE_NEWNS = 0x20000
MS_REC, MS_SLAVE, MS_SHARED = 0x4000, 1 << 19, 1 << 20
PAUSE = "int pause(void); int main(void) { for (;;) pause(); }"
APPLETS = ("sh", "sleep", "cat", "echo", "uname", "ls", "id", "env", "wc", "httpd", "wget", "true", "false", "head",
           "kill", "dd", "yes", "ps", "stty", "touch", "mkdir", "rm", "test", "seq", "date", "hostname", "nc", "grep",
           "readlink", "tail", "od", "printf", "ip", "ping", "tr", "sort", "cut", "mount", "stat", "trap")  # fmt: skip

PROCESSES: dict[str, asyncio.subprocess.Process] = {}
"""The running containerd by its socket, for tests that kill it."""

_private = False


def enter_private_mounts() -> None:
    """Give this process its own mount namespace, shared within (once; a second call does nothing)."""
    global _private
    if _private:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    steps = (
        lambda: libc.unshare(CLONE_NEWNS),
        lambda: libc.mount(b"none", b"/", None, MS_REC | MS_SLAVE, None),
        lambda: libc.mount(b"none", b"/", None, MS_REC | MS_SHARED, None),
    )
    for step in steps:
        if step() != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    _private = True


def pause_archive(directory: Path) -> Path:
    """``localhost/pause:1``: one static program that waits for a signal."""
    root = directory / "pause"
    root.mkdir(parents=True)
    (directory / "pause.c").write_text(PAUSE)
    subprocess.run(["musl-gcc", "-static", "-Os", "-o", root / "pause", directory / "pause.c"], check=True)
    target = directory / "pause.tar"
    build_archive(target, reference="localhost/pause:1", root=root, config=ImageConfig(entrypoint=("/pause",)))
    return target


def busybox_archive(directory: Path) -> Path:
    """``localhost/busybox:1``: Debian's static busybox and links for its applets."""
    root = directory / "busybox"
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "var"):
        (root / name).mkdir(parents=True)
    shutil.copy("/usr/bin/busybox", root / "bin" / "busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
    (root / "etc" / "group").write_text("root:x:0:\nnogroup:x:65534:\n")
    target = directory / "busybox.tar"
    build_archive(target, reference="localhost/busybox:1", root=root, config=ImageConfig(command=("sh",)))
    return target


@cache
def _small_images() -> dict[str, bytes]:
    """Both archives by their names: the same for each containerd of this process."""
    with tempfile.TemporaryDirectory() as directory:
        made = (pause_archive(Path(directory)), busybox_archive(Path(directory)))
        return {one.name: one.read_bytes() for one in made}


async def start(settings: NodeSettings) -> asyncio.subprocess.Process:
    """Start containerd and wait until its socket answers (at most 10 s)."""
    log = (settings.data / "logs" / "containerd.log").open("ab")
    process = await asyncio.create_subprocess_exec(
        *containerd.command(settings), env=containerd.environment(settings), stdout=log, stderr=log,
        stdin=asyncio.subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    log.close()
    async with asyncio.timeout(10), CriClient(settings.socket) as cri:
        while not await cri.is_ready():
            await asyncio.sleep(0.02)
    PROCESSES[str(settings.socket)] = process
    return process


async def stop(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    await process.wait()


@contextlib.asynccontextmanager
async def running(settings: NodeSettings, *archives: Path) -> AsyncIterator[CriClient]:
    """containerd for ``settings`` with ``archives`` and the two small images; every pod is gone at the end."""
    enter_private_mounts()
    containerd.write(settings)
    images = settings.data / "test-images"
    images.mkdir(parents=True)
    own = [images / name for name in _small_images()]
    for archive, content in zip(own, _small_images().values(), strict=True):
        archive.write_bytes(content)
    told = settings.data / "test-settings.json"
    told.write_bytes(msgspec.json.encode(settings))
    with afterwards(sys.executable, "-m", __name__, told):
        await start(settings)
        try:
            for archive in (*own, *archives):
                await image_store.import_archive(settings.socket, archive)
            async with CriClient(settings.socket) as cri:
                yield cri
        finally:
            left = await stop_every_pod(settings)
            await stop(PROCESSES.pop(str(settings.socket)))
            await _remove(settings)
            assert left == [], left


async def _remove(settings: NodeSettings) -> None:
    await remove_host_state(settings)
    for directory in (settings.data, settings.run):
        shutil.rmtree(directory, ignore_errors=True)


async def _remove_all(settings: NodeSettings) -> None:
    """As at the end of ``running``, for a containerd that is nobody's child any more."""
    await stop_every_pod(settings)
    kill(*told_of(settings.run, settings.data))
    await _remove(settings)


if __name__ == "__main__":
    asyncio.run(_remove_all(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=NodeSettings)))


def administrators(directory: Path, *, state: Path, socket: Path) -> str:
    """A configuration that somebody else wrote: as far from ours as this host allows."""
    return f"""\
version = 2
root = "{directory}/root"
state = "{state}"

[grpc]
  address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]  # keep!
  sandbox_image = "localhost/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
  disable_hugetlb_controller = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{directory}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""
