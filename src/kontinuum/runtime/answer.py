"""What a child of the warm parent does: answer one request of the client and, after ``start``, be the pod's shim.

A start for which a machine waits is answered by the process that has it, as the pod's shim; see ``warm.pool``.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import structlog

from kontinuum.foundation import sockets, tallies
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.errors import Broken, KontinuumError
from kontinuum.runtime import backends as backend_choice
from kontinuum.runtime import cgroups, codec, launch, oci, records, taps
from kontinuum.runtime import settings as runtime_settings
from kontinuum.runtime.backends import Backends
from kontinuum.runtime.jail.users import Users
from kontinuum.runtime.launch import Launch
from kontinuum.runtime.messages import DeleteResponse, ShutdownRequest, StateRequest, Timestamp
from kontinuum.runtime.oci import Pod, Role
from kontinuum.runtime.process import KILLED
from kontinuum.runtime.sandbox import wanted_size
from kontinuum.runtime.settings import STANDBYS, RuntimeSettings
from kontinuum.runtime.shim import Place, Shim
from kontinuum.runtime.task import service
from kontinuum.runtime.task.errors import NOT_FOUND
from kontinuum.runtime.ttrpc import Caller, CallFailed, PeerAway, ProtocolBroken, ServerConnection
from kontinuum.runtime.vmm.port import Size
from kontinuum.runtime.warm import pool as warm_pools
from kontinuum.runtime.warm import rehearsal, sizes, standby
from kontinuum.runtime.warm.pool import Pool
from kontinuum.runtime.warm.standby import Call, Making

log = structlog.get_logger(__name__)

SOCKET = "shim.sock"
_CLIENT_SECONDS = 10.0
_SAYING_SECONDS = 2.0
"""For a shim to say what it knows: as long as containerd gives it for State before it takes the pod for dead."""
_LEAVING_SECONDS = 4.0
"""For a shim that was asked to end: its machine, its last events."""
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_libc = ctypes.CDLL(None, use_errno=True)


class ShimAway(Broken):
    """The shim that a container should join does not listen (any more)."""


def answer(line: socket.socket, settings: RuntimeSettings, *, config: Path, backends: Backends | None) -> None:
    """Read the request from ``line`` and answer it; returns when there is nothing more to do, for a shim: at its end.

    ``backends`` fit ``settings``; they are chosen anew if the request comes with another configuration file.
    """
    line.settimeout(_CLIENT_SECONDS)
    try:
        request = _read_all(line)
        asked = launch.understand(launch.read_request(request))
        if asked.action == "start" and asked.config is not None and asked.config != config:
            settings, backends = runtime_settings.load(asked.config), None
        if asked.action == "delete":
            _reply(line, 0, codec.encode(delete(asked, settings)))
            return
        spec = oci.read_spec(asked.bundle)
        if oci.role_of(spec) is Role.MEMBER:
            _reply(line, 0, join(asked, settings, oci.sandbox_id_of(spec)).encode())
            return
        if backends is None:
            backends = asyncio.run(backend_choice.choose(settings, RealClock()))
        pod = oci.pod_of(spec, asked.id)
        directory = records.directory_of(settings.sandboxes, asked.namespace, asked.id)
        address = f"unix://{directory / SOCKET}"
        if directory.exists():
            # What a predecessor of the same name left.
            records.take_apart(directory)
        size = _size(pod, backends, settings)
        sizes.note(settings.sizes, size)
        taken = warm_pool(settings).take(size, directory, request)
        if taken is not None:
            launch.write_address(asked.bundle, address)
            _reply(line, 0, address.encode())
            taken.confirm()
            return
        directory.mkdir(parents=True, mode=0o700)
        listener = sockets.listen_unix(directory / SOCKET)
    except (KontinuumError, OSError) as error:
        log.error("request refused", reason=str(error))
        _reply(line, 1, f"{error}\n".encode())
        return
    launch.write_address(asked.bundle, address)
    # From here on containerd may call; until the loop runs, its calls wait in the socket.
    _reply(line, 0, address.encode())
    line.close()
    _be_shim(asked, pod, listener, directory, backends=backends, settings=settings)


def stand_by(size: Size, settings: RuntimeSettings, backends: Backends) -> None:
    """Make a machine of this size, wait with it for a pod, be its shim; returns when there is nothing more to do."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    _libc.prctl(_PR_SET_NAME, b"kontinuum-idle", 0, 0, 0)
    os.chdir("/")
    place = asyncio.run(_stand_by(size, settings, backends))
    if place is not None:
        clean_up(place)


def warm_pool(settings: RuntimeSettings) -> Pool:
    """Where machines of these settings wait."""
    return Pool(settings.warm, Users(settings.users, settings.user_range))


async def _stand_by(size: Size, settings: RuntimeSettings, backends: Backends) -> Place | None:
    """Where it was a pod's shim, when it was; None if no pod came."""
    try:
        found = await standby.stand_by(warm_pool(settings), size, _making(settings, backends))
    except standby.NotWarm as error:
        log.error("no machine waits for a pod: it could not be made", reason=str(error))
        return None
    if found is None:
        return None
    call, warm = found
    # Whoever made us may end now: we are a pod's.
    _libc.prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)
    try:
        asked = launch.understand(launch.read_request(call.request))
        pod = oci.pod_of(oci.read_spec(asked.bundle), asked.id)
        directory = records.directory_of(settings.sandboxes, asked.namespace, asked.id)
        listener = sockets.listen_unix(directory / SOCKET)
        (directory / warm_pools.SOCKET).unlink(missing_ok=True)
        warm.machine.move(directory)
        place = _settle_down(asked, pod, directory, warm.machine.pid)
        shim = Shim(place, pod, backends=backends, settings=settings, clock=RealClock(), warm=warm)
        shim.begin()
    except (KontinuumError, OSError) as error:
        log.error("a pod that took a warm machine is refused", reason=str(error))
        call.refuse()
        await warm.machine.kill()
        return None
    call.answer()
    shim.spawn(_end_unless_known(shim, call))
    await _serve(shim, listener)
    return place


async def _end_unless_known(shim: Shim, call: Call) -> None:
    if not await call.is_known():
        log.error("whoever brought the pod died before containerd heard of us; we end")
        shim.finished.set()


def _making(settings: RuntimeSettings, backends: Backends) -> Making:
    rehearse = partial(rehearsal.rehearse, perform=backends.rehearse)
    count = partial(tallies.add, settings.tallies(STANDBYS))
    open_tap = (lambda: None) if backends.vmm.brings_taps else taps.open_apart
    return Making(backends.vmm, backends.connect, rehearse, open_tap, count)


def _size(pod: Pod, backends: Backends, settings: RuntimeSettings) -> Size:
    wanted = wanted_size(pod, settings)
    return backends.vmm.size(memory_bytes=wanted.memory_bytes, cpus=wanted.cpus)


def join(asked: Launch, settings: RuntimeSettings, sandbox: str) -> str:
    """The address of the shim that runs ``sandbox``, for one more container. Raises ShimAway."""
    beside = launch.read_address(asked.bundle.parent / sandbox)
    path = beside or records.directory_of(settings.sandboxes, asked.namespace, sandbox) / SOCKET
    if not sockets.is_listening(path):
        raise ShimAway(f"the shim of sandbox {sandbox} does not listen at {path}")
    address = f"unix://{path}"
    launch.write_address(asked.bundle, address)
    return address


def delete(asked: Launch, settings: RuntimeSettings) -> DeleteResponse:
    """Clean up behind a shim that is gone, or has never come up. Idempotent; containerd asks after normal ends too.

    A bundle knows only its shim's address. The record beside that says whose sandbox it is: the bundle of a container
    that merely lived there must not take it away from its siblings, and neither must the sandbox's own, which goes
    first when a machine is lost: how its containers ended is told after that.
    """
    address = launch.read_address(asked.bundle)
    directory = address.parent if address else records.directory_of(settings.sandboxes, asked.namespace, asked.id)
    record = records.read(directory)
    # A machine that waited has no name until its standby has understood whose it is. What a dead shim left is anybody's
    # to take apart: its sandbox may have been deleted before it died, and nobody asks for that twice.
    is_ours = record is not None and (record.sandbox in ("", asked.id) or not records.has_shim(record))
    if is_ours and not _leaves_by_itself(directory, asked.id):
        log.info("taking apart what a shim left", sandbox=asked.id)
        records.take_apart(directory)
    return DeleteResponse(exit_status=KILLED, exited_at=Timestamp.of(time.time()))


def _leaves_by_itself(directory: Path, sandbox: str) -> bool:
    """Whether the shim ends without our help: it is on its way out and gets there, or it will be when containerd has
    dropped its last container. One that still has the sandbox is a pod that containerd has lost."""
    try:
        return asyncio.run(_has_dropped(directory / SOCKET, sandbox))
    except PeerAway:
        return records.wait_gone(directory, timeout=_LEAVING_SECONDS)
    except (TimeoutError, CallFailed, ProtocolBroken) as error:
        log.warning("a shim that containerd asks us to end says nothing sensible", sandbox=sandbox, why=repr(error))
        return False


async def _has_dropped(shim: Path, sandbox: str) -> bool:
    """Whether containerd has deleted the sandbox; then the shim is told to end if nothing else is left to it.

    Raises PeerAway, TimeoutError, CallFailed, ProtocolBroken.
    """
    async with asyncio.timeout(_SAYING_SECONDS):
        with closing(await Caller.connect(shim)) as caller:
            try:
                await caller.call(service.SERVICE, "State", codec.encode(StateRequest(sandbox)))
            except CallFailed as error:
                if error.code != NOT_FOUND:
                    raise
                await caller.call(service.SERVICE, "Shutdown", codec.encode(ShutdownRequest(sandbox)))
                return True
    return False


def _be_shim(
    asked: Launch, pod: Pod, listener: socket.socket, directory: Path, *, backends: Backends, settings: RuntimeSettings
) -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    os.chdir("/")
    place = _settle_down(asked, pod, directory)

    async def live() -> None:
        shim = Shim(place, pod, backends=backends, settings=settings, clock=RealClock())
        shim.begin()
        await _serve(shim, listener)

    asyncio.run(live())
    clean_up(place)


def _settle_down(asked: Launch, pod: Pod, directory: Path, *machines: int) -> Place:
    """This process, and the machines that it has already, are the pod's from here on."""
    structlog.contextvars.bind_contextvars(sandbox=asked.id[:12])
    _libc.prctl(_PR_SET_NAME, b"kontinuum-shim", 0, 0, 0)
    joined = cgroups.join(pod.cgroup, *machines)
    return Place(asked.namespace, asked.id, directory, asked.events_address, tuple(joined))


async def _serve(shim: Shim, listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    handler = service.handler(shim)
    server = await loop.create_unix_server(lambda: ServerConnection(handler), sock=listener)
    # Asked to end by somebody else than containerd: the pod goes, and is seen to go.
    loop.add_signal_handler(signal.SIGTERM, shim.finished.set)
    await shim.finished.wait()
    # First, because that is how ``delete`` tells a shim that is leaving from one that hangs.
    server.close()
    await shim.end()


def clean_up(place: Place) -> None:
    """Remove the sandbox's traces. What resists is left to ``delete``, together with the record that names it."""
    cgroups.leave(place.cgroups)
    stubborn = cgroups.remove(place.cgroups, timeout=0.5)
    if stubborn:
        log.warning("cgroups are left for later", cgroups=[str(path) for path in stubborn])
        return
    records.take_apart(place.directory)


def _read_all(line: socket.socket) -> bytes:
    return b"".join(iter(lambda: line.recv(65536), b""))


def _reply(line: socket.socket, status: int, text: bytes) -> None:
    """A client that has gone away meanwhile will not be missed: containerd asks again."""
    try:
        line.sendall(bytes([status]) + text)
    except OSError as error:
        log.warning("the client hung up before its answer", reason=str(error))
