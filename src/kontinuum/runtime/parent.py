"""The warm parent: everything imported, nothing running, one fork away from a shim.

    python -m kontinuum.runtime.parent --config FILE [--transient]

One listens per socket. It does no work of its own: each request is answered by a child, which for ``start`` goes on to
be the pod's shim. So nothing that a request does can hurt the parent, and no pod notices when the parent ends. Machines
that wait for pods (``warm``) are children too, forked when the keeper asks; they end with the parent. A
``transient`` parent, which a client started because nobody listened, ends when it has not been asked for a while or
when a supervised one comes.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import fcntl
import gc
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog
from msgspec import structs

from kontinuum.foundation import sockets, telemetry
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.errors import Broken, KontinuumError
from kontinuum.runtime import answer, backends, codec, messages, records
from kontinuum.runtime import settings as runtime_settings
from kontinuum.runtime.backends import Backends
from kontinuum.runtime.records import ProcessRecord
from kontinuum.runtime.settings import RuntimeSettings
from kontinuum.runtime.vmm.port import Size
from kontinuum.runtime.warm import standby
from kontinuum.runtime.warm.keeper import Keeper, available_bytes

log = structlog.get_logger(__name__)

TRANSIENT_IDLE_SECONDS = 60.0
PREPARE_AGAIN_SECONDS = 0.25
"""How soon a size is noticed that a pod waits for; a look costs one directory listing."""
_TAKE_OVER_SECONDS = 5.0
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_libc = ctypes.CDLL(None, use_errno=True)


class OtherParentStays(Broken):
    """Another parent holds this socket and does not end; the message names its process."""


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="kontinuum.runtime.parent", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the runtime's configuration, JSON")
    parser.add_argument("--transient", action="store_true", help="end when not asked for a while")
    options = parser.parse_args(arguments)
    try:
        settings = runtime_settings.load(options.config)
        _open_log(settings)
        sockets.allow_open_files(sockets.MANY_FILES)  # for the shims, which inherit it; machines get fewer (``jail``)
        with _Post(settings, options.config) as post:
            post.serve(transient=options.transient)
    except KontinuumError as error:
        print(f"kontinuum.runtime.parent: {error}", file=sys.stderr)
        return 1
    return 0


class _Post:
    """The parent's socket, its lock, and the backends that its children inherit."""

    def __init__(self, settings: RuntimeSettings, config: Path) -> None:
        self._settings = settings
        self._config = config
        settings.sandboxes.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _take_lock(settings.socket)
        self._listener = sockets.listen_unix(settings.socket)
        self._keeper, self._keepers_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._write_start_file()

    def __enter__(self) -> _Post:
        return self

    def __exit__(self, *_: object) -> None:
        # The socket's file stays: a client must not find its name taken by nobody while a successor is on its way.
        self.close()

    def close(self) -> None:
        """Give back the descriptors; each child does, or it would hold the lock and the socket for its pod's life."""
        self._listener.close()
        self._keeper.close()
        self._keepers_end.close()
        os.close(self._lock)

    def serve(self, *, transient: bool) -> None:
        """Fork a child for each connection, until SIGTERM (or idleness, if ``transient``)."""
        signal.signal(signal.SIGTERM, _leave)
        chosen = _choose(self._settings)
        if chosen is not None:
            self._fork_preparer(chosen, transient=transient)
        # Children are nobody's business once they are forked: ignored means reaped by the kernel.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        _libc.prctl(_PR_SET_NAME, b"kontinuum-warm", 0, 0, 0)
        _warm_up()
        sockets.notify_ready()
        patience = TRANSIENT_IDLE_SECONDS if transient else None
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ, self._take_one)
            selector.register(self._keeper, selectors.EVENT_READ, self._fork_standby)
            while ready := selector.select(patience):
                for key, _events in ready:
                    key.data(chosen)

    def _take_one(self, chosen: Backends | None) -> None:
        with suppress(BlockingIOError):
            line, _peer = self._listener.accept()
            with line:
                if os.fork() == 0:
                    self._become_child(line, chosen)

    def _become_child(self, line: socket.socket, chosen: Backends | None) -> None:
        code = 1
        try:
            self.close()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            answer.answer(line, self._settings, config=self._config, backends=chosen)
            code = 0
        except BaseException:
            log.exception("a child of the warm parent failed")
        finally:
            # Never back into the parent's loop, and never through the parent's exit handlers.
            os._exit(code)

    def _fork_standby(self, chosen: Backends | None) -> None:
        """As the keeper asks: a process with a machine that waits. It ends with us, unless it is a pod's by then."""
        asked = self._keeper.recv(64).split()
        parent = os.getpid()
        if chosen is None or len(asked) != 2 or os.fork() != 0:
            return
        code = 1
        try:
            self.close()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(standby.END_SIGNAL, signal.SIG_DFL)
            os.setsid()
            _libc.prctl(_PR_SET_PDEATHSIG, standby.END_SIGNAL, 0, 0, 0)
            if os.getppid() == parent:
                answer.stand_by(Size(int(asked[0]), int(asked[1])), self._settings, chosen)
            code = 0
        except BaseException:
            log.exception("a machine that waited for its pod failed")
        finally:
            os._exit(code)

    def _fork_preparer(self, chosen: Backends, *, transient: bool) -> None:
        parent = os.getpid()
        if os.fork() != 0:
            return
        code = 1
        keeper = self._keepers_end.dup()
        try:
            self.close()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            _libc.prctl(_PR_SET_NAME, b"kontinuum-tmpl", 0, 0, 0)
            os.nice(5)  # a pod that starts now matters more than one that may start later
            if os.getppid() == parent:
                asyncio.run(_keep_prepared(chosen, _keeper_of(self._settings, chosen, keeper, transient=transient)))
            code = 0
        finally:
            os._exit(code)

    def _write_start_file(self) -> None:
        """How a client brings up a successor: see client.c."""
        words = [sys.executable, "-m", "kontinuum.runtime.parent", "--config", str(self._config), "--transient"]
        path = Path(f"{self._settings.socket}.start")
        temporary = path.with_suffix(".new")
        temporary.write_bytes(b"".join(word.encode() + b"\0" for word in words))
        temporary.replace(path)


def _keeper_of(settings: RuntimeSettings, chosen: Backends, line: socket.socket, *, transient: bool) -> Keeper:
    """A ``transient`` parent ends when nobody needs it, and what waits ends with it: it keeps nothing warm."""

    def ask(size: Size) -> None:
        line.send(f"{size.memory_bytes} {size.cpus}".encode())

    return Keeper(
        answer.warm_pool(settings),
        chosen.vmm.size(memory_bytes=settings.default_memory_bytes, cpus=1),
        structs.replace(settings, warm_machines=0) if transient else settings,
        RealClock(),
        ask=ask,
        available_bytes=available_bytes,
    )


async def _keep_prepared(chosen: Backends, keeper: Keeper) -> None:
    """Make templates, now and when a start has missed one, and have machines wait that are made of them."""
    while True:
        try:
            await chosen.prepare()
            keeper.look()
        except (KontinuumError, OSError) as error:
            log.error("pods start slowly meanwhile: a template could not be made or cloned", reason=str(error))
        await asyncio.sleep(PREPARE_AGAIN_SECONDS)


def _choose(settings: RuntimeSettings) -> Backends | None:
    """The backends, chosen once for all children; None if something is missing, which each child then reports."""
    try:
        return asyncio.run(backends.choose(settings, RealClock()))
    except KontinuumError as error:
        log.error("no machine can be started on this host", reason=str(error))
        return None


def _warm_up() -> None:
    """Run once what every child runs; then hide it from the garbage collector, so that its pages stay shared."""
    request = messages.CreateTaskRequest(id="warm", rootfs=(messages.Mount(),), options=messages.Any())
    codec.decode(messages.CreateTaskRequest, codec.encode(request))
    asyncio.run(asyncio.sleep(0))
    gc.collect()
    gc.freeze()


def _take_lock(path: Path) -> int:
    """The lock that goes with the socket; whoever holds it is asked to leave. Raises OtherParentStays."""
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _TAKE_OVER_SECONDS
    asked: ProcessRecord | None = None
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            holder = _holder(lock)
            if time.monotonic() > deadline:
                raise OtherParentStays(f"{path}: held by another parent that does not end ({holder})") from None
            # The start time tells the holder from a stranger that has its number now.
            if holder is not None and holder != asked and records.process_record(holder.pid) == holder:
                os.kill(holder.pid, signal.SIGTERM)
                asked = holder
            time.sleep(0.01)
    os.ftruncate(lock, 0)
    os.pwrite(lock, msgspec.json.encode(records.process_record(os.getpid())), 0)
    return lock


def _holder(lock: int) -> ProcessRecord | None:
    """Who wrote its name into the lock; None in the instant in which somebody is doing so."""
    try:
        return msgspec.json.decode(os.pread(lock, 200, 0), type=ProcessRecord)
    except msgspec.MsgspecError:
        return None


def _open_log(settings: RuntimeSettings) -> None:
    """Logs go to the configured file (shims write to it long after us) or to standard error."""
    stream = sys.stderr
    if settings.log_file:
        Path(settings.log_file).parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(settings.log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        stream = os.fdopen(descriptor, "a", buffering=1)
    telemetry.configure_logs(component="shim", stream=stream)


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    # What the import system reads as "not installed": structlog would import it for coloured tracebacks that nobody
    # sees, and every pod would pay for it.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    sys.exit(main(sys.argv[1:]))
