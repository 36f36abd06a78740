"""An agent without a machine: it runs the processes right here, so that what is above it can be tested fast.

Honest in what it promises: processes are real, so are their pipes, exit codes and signals; commands that do not exist
are refused as the kernel refuses them; a closed agent takes its processes down. It isolates nothing and has no
terminals.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import shutil
import signal
import tarfile
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from kontinuum.foundation import process
from kontinuum.foundation.tars import unpack_trusted
from kontinuum.runtime.guest.port import (
    FILE_LIMIT,
    ContainerSpec,
    ContainerStats,
    Exit,
    GuestLost,
    GuestRefused,
    Identity,
    ProcessNotStarted,
    ProcessSpec,
    VolumeDisk,
)

_CHUNK = 1 << 16


class FakeProcess:
    """A ``GuestProcess``."""

    def __init__(self, child: process.Child, stdin: int, lost: asyncio.Event) -> None:
        self._child = child
        self._stdin = stdin
        self._lost = lost
        self.size = (0, 0)
        """(rows, columns) as last told."""

    @property
    def pid(self) -> int:
        return self._child.pid

    def stdout(self) -> AsyncIterator[bytes]:
        return _chunks(self._child.stdout)

    def stderr(self) -> AsyncIterator[bytes]:
        return _chunks(self._child.stderr)

    async def write_stdin(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._stdin, view) :]
            except BlockingIOError:
                await asyncio.sleep(0.001)
            except OSError as error:
                raise GuestRefused(f"stdin: {error}") from error

    async def close_stdin(self) -> None:
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1

    async def resize(self, *, rows: int, columns: int) -> None:
        self.size = (rows, columns)

    async def signal(self, number: int, *, whole_container: bool = False) -> None:
        if not self._child.is_running():
            raise GuestRefused("no such process")
        self._child.signal(number, group=whole_container)

    async def wait(self) -> Exit:
        code = await self._child.wait()
        await self.close_stdin()
        if self._lost.is_set():
            raise GuestLost("the agent was closed")
        return Exit(code if code >= 0 else 128 - code)


class FakeConnection:
    """A ``GuestConnection``, to this host's own loopback."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def chunks(self) -> AsyncIterator[bytes]:
        while data := await self._reader.read(_CHUNK):
            yield data

    async def write(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise GuestRefused(f"nobody reads it any more: {error}") from error

    async def end(self) -> None:
        self._writer.write_eof()

    async def close(self) -> None:
        self._writer.close()


class FakeGuest:
    """A ``Guest``; ``trees`` is a directory that stands for the machine's file system."""

    def __init__(self, trees: Path) -> None:
        self.trees = trees
        self.identity: Identity | None = None
        self.containers: dict[str, ContainerSpec] = {}
        self.layers: set[str] = set()
        """Those that are mounted."""
        self.disks: dict[str, VolumeDisk] = {}
        self.memories: dict[str, int] = {}
        """Volumes by the path where they are mounted."""
        self.clock_offset = 0.0
        """Seconds by which its clock is ahead of the host's."""
        self._children: list[tuple[str, process.Child]] = []
        self._lost = asyncio.Event()

    async def identify(self, identity: Identity) -> None:
        self.identity = identity

    async def clock(self, *, set_to: float | None = None) -> float:
        self._check_living()
        said = time.time() + self.clock_offset
        if set_to is not None:
            self.clock_offset = set_to - time.time()
        return said

    async def forget(self) -> None:
        self.identity = None

    async def add_container(self, spec: ContainerSpec) -> None:
        self._check_living()
        if spec.id in self.containers:
            raise GuestRefused(f"container {spec.id} is there already")
        self.containers[spec.id] = spec
        self.layers |= {spec.layer} - {""}

    async def remove_container(self, container: str, *, layer: str = "", keep_layer: bool = False) -> None:
        self._check_living()
        for child in self._of(container):
            child.signal(signal.SIGKILL, group=True)
        self.containers.pop(container, None)
        if not keep_layer:
            self.layers.discard(layer)

    async def update_container(
        self, container: str, *, memory_limit_bytes: int, cpu_quota_microseconds: int, pids_limit: int
    ) -> None:
        self._check_living()
        if container not in self.containers:
            raise GuestRefused(f"container {container} is not there")

    async def start_process(self, spec: ProcessSpec) -> FakeProcess:
        self._check_living()
        if spec.container not in self.containers:
            raise GuestRefused(f"container {spec.container} is not there")
        if shutil.which(spec.arguments[0]) is None:
            raise ProcessNotStarted(f"exec {spec.arguments[0]}: {os.strerror(errno.ENOENT)}", errno=errno.ENOENT)
        theirs, ours = os.pipe() if spec.stdin else (os.open(os.devnull, os.O_RDONLY), -1)
        try:
            child = process.spawn(*spec.arguments, stdin=theirs, capture=True)
        finally:
            os.close(theirs)
        if ours >= 0:
            os.set_blocking(ours, False)
        self._children.append((spec.container, child))
        return FakeProcess(child, ours, self._lost)

    async def write_tree(self, path: str, archive: bytes) -> None:
        self._check_living()
        target = self.trees / path.lstrip("/")
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            unpack_trusted(tar, target)

    async def read_file(self, path: str) -> bytes:
        self._check_living()
        try:
            content = (self.trees / path.lstrip("/")).read_bytes()
        except OSError as error:
            raise GuestRefused(f"read {path}: {error.strerror}") from error
        if len(content) > FILE_LIMIT:
            raise GuestRefused(f"read {path}: File too large")
        return content

    async def mount_memory(self, path: str, *, size_bytes: int) -> None:
        self._check_living()
        self.memories[path] = size_bytes

    async def mount_disk(self, disk: VolumeDisk) -> None:
        self._check_living()
        self.disks[disk.path] = disk

    async def unmount(self, path: str) -> None:
        self._check_living()
        if self.disks.pop(path, None) is None and self.memories.pop(path, None) is None:
            raise GuestRefused(f"unmount {path}: {os.strerror(errno.EINVAL)}")

    async def dial(self, port: int) -> FakeConnection:
        self._check_living()
        try:
            return FakeConnection(*await asyncio.open_connection("localhost", port))
        except OSError as error:
            raise GuestRefused(f"connect to port {port}: {error.strerror}") from error

    async def stats(self, container: str) -> ContainerStats:
        running = len(await self.processes(container))
        return ContainerStats(1_000_000, 2 << 20, 1 << 20, self.containers[container].memory_limit_bytes, running)

    async def processes(self, container: str) -> tuple[int, ...]:
        self._check_living()
        return tuple(child.pid for child in self._of(container))

    async def wait_lost(self) -> str:
        await self._lost.wait()
        return "the fake guest was lost"

    async def close(self) -> None:
        self._lost.set()
        for _container, child in self._children:
            with suppress(ProcessLookupError):
                child.signal(signal.SIGKILL, group=True)
            await child.wait()

    def _of(self, container: str) -> list[process.Child]:
        return [child for owner, child in self._children if owner == container and child.is_running()]

    def _check_living(self) -> None:
        if self._lost.is_set():
            raise GuestLost("the agent was closed")


async def _chunks(stream: IO[bytes] | None) -> AsyncIterator[bytes]:
    assert stream is not None
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader, loop=loop), stream)
    try:
        while data := await reader.read(_CHUNK):
            yield data
    finally:
        transport.close()
