"""Firecracker's public API without a machine behind it: a process that sleeps, and a server that means what it says.

Honest in what it promises: it takes nothing that the public document does not have, wants everything that it requires,
refuses what comes at the wrong time, opens the files that it is told of (disks, kernel, snapshots) as the real one
would, writes snapshots that only it can load and refuses damaged ones, listens on its vsock once the machine runs, and
is gone when its process is. What it cannot show: a guest, and time.

Source: ``src/firecracker/swagger/firecracker.yaml``, 1.17 in development, and the documents beside it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import orjson
from aiohttp import web

from kontinuum.foundation import process, sockets
from kontinuum.runtime.guest import greeter
from kontinuum.runtime.jail.view import NotShown
from kontinuum.runtime.vmm.firecracker import documents
from kontinuum.runtime.vmm.firecracker.launcher import Wish
from kontinuum.runtime.vmm.firecracker.machine import Launched, View
from kontinuum.runtime.vmm.firecracker.shapes import (
    SHAPES,
    Drive,
    InstanceActionInfo,
    PartialDrive,
    PartialNetworkInterface,
    SnapshotCreateParams,
    SnapshotLoadParams,
    Vm,
)

BEFORE_START = frozenset({"/machine-config", "/boot-source", "/network-interfaces", "/vsock", "/balloon", "/entropy"})
Agent = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Fault(Exception):
    """What Firecracker answers with 400 and ``fault_message``."""


class FakeFirecracker:
    """The process's mind."""

    def __init__(self, *, id: str, find: Callable[[str], Path], agent: Agent, version: str) -> None:
        """``find`` answers where on the host a path of the jail is."""
        self.state = "Not started"
        self.asked: list[tuple[str, str]] = []
        """Method and path of every call, in order."""
        self.drives: dict[str, str] = {}
        """Drive → a mark of the file in it."""
        self._id = id
        self._find = find
        self._agent = agent
        self._version = version
        self._told: dict[str, Any] = {}
        self._server: web.AppRunner | None = None
        self._vsock: asyncio.Server | None = None

    async def serve(self) -> None:
        """Open the API's socket."""
        application = web.Application(client_max_size=51200)
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._server = web.AppRunner(application, access_log=None, shutdown_timeout=0)
        await self._server.setup()
        await web.SockSite(self._server, sockets.listen_unix(self._find(documents.API_SOCKET))).start()

    async def end(self) -> None:
        """As when the process dies."""
        if self._vsock is not None:
            self._vsock.close()
        if self._server is not None:
            await self._server.cleanup()
        for path in (documents.API_SOCKET, documents.AGENT_SOCKET):
            self._find(path).unlink(missing_ok=True)

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.path))
        try:
            answer = await self._do(request.method, request.path, await request.read())
        except Fault as fault:
            return web.Response(status=400, body=orjson.dumps({"fault_message": str(fault)}))
        return web.Response(status=204) if answer is None else web.Response(body=orjson.dumps(answer))

    async def _do(self, method: str, path: str, content: bytes) -> dict[str, Any] | None:
        family = f"/{path.split('/')[1]}" if path.count("/") > 1 and not path.startswith("/snapshot") else path
        if (method, family) == ("GET", "/"):
            described = {"id": self._id, "state": self.state, "vmm_version": self._version}
            return {"app_name": "Firecracker", **described}
        if (method, family) == ("GET", "/version"):
            return {"firecracker_version": self._version}
        shape = SHAPES.get((method, family))
        if shape is None:
            raise Fault(f"Invalid request method and/or path: {method} {path}.")
        try:
            document = msgspec.json.decode(content, type=shape)
            document.check()
        except ValueError as error:  # msgspec's are, too
            raise Fault(f"The request body is invalid: {error}") from error
        if method == "PUT" and family in BEFORE_START | {"/drives"} and self.state != "Not started":
            raise Fault("The requested operation is not supported after starting the microVM.")
        match document:
            case Drive():
                self._put_drive(path, document)
            case PartialDrive():
                self._patch_drive(path, document)
            case InstanceActionInfo(action_type="InstanceStart"):
                await self._start()
            case InstanceActionInfo():
                self._must_run("SendCtrlAltDel")
            case Vm(state=wanted):
                self._must_run("Pausing or resuming")
                self.state = "Paused" if wanted == "Paused" else "Running"
            case SnapshotCreateParams():
                self._save(document)
            case SnapshotLoadParams():
                await self._load(document)
            case PartialNetworkInterface():
                self._must_run("Updating a network interface")
            case _:
                self._told[path] = msgspec.to_builtins(document)
        return None

    def _must_run(self, what: str) -> None:
        if self.state == "Not started":
            raise Fault(f"{what} is not supported before starting the microVM.")

    def _put_drive(self, path: str, drive: Drive) -> None:
        if path != f"/drives/{drive.drive_id}":
            raise Fault("path and body disagree on the drive's id")
        if drive.is_read_only is None or drive.path_on_host is None:
            raise Fault("a drive needs is_read_only and path_on_host")
        self.drives[drive.drive_id] = self._mark(drive.path_on_host, read_only=drive.is_read_only)
        self._told[path] = msgspec.to_builtins(drive)

    def _patch_drive(self, path: str, drive: PartialDrive) -> None:
        self._must_run("Updating a drive")
        before = self._told.get(f"/drives/{drive.drive_id}")
        if before is None or path != f"/drives/{drive.drive_id}":
            raise Fault(f"Invalid block device ID: {drive.drive_id}")
        if drive.path_on_host is not None:
            self.drives[drive.drive_id] = self._mark(drive.path_on_host, read_only=before["is_read_only"])

    def _mark(self, path: str, *, read_only: bool) -> str:
        """Open a drive's file, as whoever attaches it does."""
        try:
            file = os.open(self._find(path), os.O_CLOEXEC | (os.O_RDONLY if read_only else os.O_RDWR))
        except OSError as error:
            raise Fault(f"Unable to open {path}: {error.strerror}") from error
        about = os.fstat(file)
        os.close(file)
        return f"{about.st_dev}:{about.st_ino}"

    async def _start(self) -> None:
        if self.state != "Not started":
            raise Fault("The requested operation is not supported after starting the microVM.")
        boot = self._told.get("/boot-source")
        if boot is None:
            raise Fault("Cannot start microvm without kernel configuration.")
        for path in (boot["kernel_image_path"], boot.get("initrd_path")):
            if path is not None and not self._find(path).exists():
                raise Fault(f"The kernel file cannot be opened: {path}")
        if sum(path.count("/") > 1 or path in ("/vsock", "/balloon", "/entropy") for path in self._told) > 19:
            raise Fault("Cannot register more devices: no more IRQs are available.")
        await self._run()

    async def _run(self) -> None:
        """From here on its guest takes calls."""
        self.state = "Running"
        vsock = self._told.get("/vsock")
        if vsock is not None:
            listener = sockets.listen_unix(self._find(vsock["uds_path"]))
            self._vsock = await asyncio.start_unix_server(self._take_call, sock=listener)

    async def _take_call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.readline() == f"CONNECT {documents.AGENT_PORT}\n".encode():
                writer.write(b"OK 1073741824\n")
                await self._agent(reader, writer)
        except (OSError, ValueError):
            pass
        finally:
            writer.transport.abort()

    def _save(self, where: SnapshotCreateParams) -> None:
        if self.state != "Paused":
            raise Fault("Cannot create a snapshot: save state error: the microVM is not paused")
        memory = self._find(where.mem_file_path)
        mebibytes = self._told.get("/machine-config", {"mem_size_mib": 128})["mem_size_mib"]
        with memory.open("wb") as file:
            file.truncate(mebibytes << 20)
        saved = {"told": self._told, "version": self._version, "memory": mebibytes << 20}
        content = orjson.dumps(saved, option=orjson.OPT_SORT_KEYS)
        self._find(where.snapshot_path).write_bytes(hashlib.sha256(content).digest() + content)

    async def _load(self, what: SnapshotLoadParams) -> None:
        if self.state != "Not started" or self._told:
            raise Fault("Loading a microVM snapshot not allowed after configuring boot-specific resources.")
        backend = what.check()
        try:
            content = self._find(what.snapshot_path).read_bytes()
            length = self._find(backend).stat().st_size
        except OSError as error:
            raise Fault(f"Load snapshot error: {error}") from error
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            raise Fault("Load snapshot error: CRC64 validation failed")
        saved = orjson.loads(content[32:])
        if length != saved["memory"] or saved["version"] != self._version:
            raise Fault("Load snapshot error: the memory file or the version is another one")
        self._told = saved["told"]
        for path, told in self._told.items():
            if path.startswith("/drives/"):
                self.drives[told["drive_id"]] = self._mark(told["path_on_host"], read_only=told["is_read_only"])
        await self._run()
        self.state = "Running" if what.resume_vm else "Paused"


class FakeLauncher:
    """A ``Launcher`` whose Firecrackers are fakes, in this process, beside one that sleeps in their place."""

    def __init__(self, guest: Path, *, agent: Agent = greeter.greet, version: str = "1.14.0") -> None:
        self.started: list[FakeFirecracker] = []
        self._guest = guest
        self._agent = agent
        self._version = version

    def launch(self, wish: Wish, *, output: int, locks: int, undo: ExitStack) -> Launched:
        own = Path(tempfile.mkdtemp(prefix="kontinuum-fake-"))
        undo.callback(shutil.rmtree, own)
        blank = own / "blank"
        blank.touch()
        files = {documents.KERNEL: self._guest / "vmlinux", documents.INITRAMFS: self._guest / "initramfs.cpio"}
        files |= {drive.path: blank for drive in documents.DRIVES}
        if wish.template is not None:
            files |= {documents.MEMORY: wish.template.memory, documents.STATE: wish.template.state}
        covered: dict[str, Path] = {}

        def find(path: str) -> Path:
            if path.startswith(documents.OWN):
                return own / path.removeprefix(f"{documents.OWN}/")
            return covered.get(path) or files.get(path) or Path("/nonexistent")

        child = process.spawn("sleep", "infinity", stdout=output, stderr=output, pass_fds=(locks,))
        fake = FakeFirecracker(id=wish.directory.name, find=find, agent=self._agent, version=self._version)
        self.started.append(fake)
        life = asyncio.get_running_loop().create_task(_live(fake, child))
        undo.callback(life.cancel)

        def cover(target: str, file: int, _read_only: bool) -> None:
            if not child.is_running():
                raise NotShown("the process is gone")
            covered[target] = Path(f"/proc/self/fd/{file}")

        def uncover(target: str) -> None:
            covered.pop(target, None)

        def open_socket(path: str) -> int:
            return sockets.open_socket_of(os.getuid(), find(path))

        return Launched(child, View(cover, uncover, open_socket), os.getuid(), tap=None)


async def _live(fake: FakeFirecracker, child: process.Child) -> None:
    try:
        await fake.serve()
        await child.wait()
    finally:
        await fake.end()
