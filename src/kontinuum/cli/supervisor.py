"""The supervisor of one machine: ``python -m kontinuum.cli.run supervisor SETTINGS.json``.

Brings the parts up in parallel, keeps them running, writes down what runs, renews certificates, and takes all of it
down in order. SIGTERM and SIGINT stop the pods too; SIGHUP leaves them to the next supervisor, and so does our death.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

from kontinuum.cli import leftovers, namespace, state
from kontinuum.cli.exits import Exit, code_of
from kontinuum.cli.keeper import Keeper, State
from kontinuum.cli.launcher import ProcessLauncher
from kontinuum.cli.platform import Preparation, parts, parts_for_pods
from kontinuum.cli.processes import identify
from kontinuum.cli.settings import Settings, decode
from kontinuum.cli.version import version
from kontinuum.foundation.clock import Clock, RealClock
from kontinuum.foundation.errors import KontinuumError, Refused, Retryable
from kontinuum.foundation.sockets import listener_of
from kontinuum.foundation.tasks import cancel
from kontinuum.foundation.telemetry import configure_logs

log = structlog.get_logger(__name__)

STOP_PODS_SECONDS = 60.0
RENEW_AGAIN_SECONDS = 600.0
STARTED_TO_STOP = "--stop-pods"


class AlreadyRunning(Refused):
    """Another supervisor keeps this installation running."""


class PodsLeft(Retryable):
    """Pods run on although they should not; their mount namespace is kept, so that ``down`` can be repeated."""


class Supervisor:
    """See the module."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._preparation = Preparation(settings)
        self._paths = settings.installation
        self._clock = clock
        self._since = clock.time()
        self._launcher = ProcessLauncher(self._paths.run, clock)
        self._keepers: list[Keeper] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._images_are_there = False
        self._hosts_are_there = settings.hosts.count == 1
        self._stop = asyncio.Event()
        self._leave_pods = False

    async def run(self) -> None:
        """Bring everything up and keep it up until a signal says otherwise."""
        self._listen_to_signals()
        self._keepers = [Keeper(part, self._launcher, self._clock, self._changed) for part in parts(self._preparation)]
        for keeper in self._keepers:
            self._tasks[keeper.part.name] = asyncio.create_task(keeper.run())
        await asyncio.sleep(0)  # The first parts are launched now, and import while we work on.
        chores = [
            asyncio.create_task(chore)
            for chore in (self._probe(), self._renew(), self._import_images(), self._start_hosts())
        ]
        stop = asyncio.create_task(self._stop.wait())
        try:
            await _first_failure_or(stop, [*chores, *self._tasks.values()])
        except BaseException:
            # We fall, for whatever reason: that is no reason for pods to fall too.
            self._leave_pods = True
            raise
        finally:
            await cancel(stop, *chores)
            await self._take_down()

    async def stop_pods(self) -> None:
        """For pods whose supervisor has died: bring up only what can stop them, and stop them."""
        await self._prepare()
        self._preparation.passed.set()
        await self._probe()
        chosen = parts_for_pods(self._preparation)
        self._keepers = [Keeper(part, self._launcher, self._clock, lambda: None) for part in chosen]
        for keeper in self._keepers:
            self._tasks[keeper.part.name] = asyncio.create_task(keeper.run())
        try:
            await self._wait_ready("containerd")
        finally:
            await self._take_down()

    # -- chores

    async def _prepare(self) -> float:
        # Imported late: the parts have been launched by now, and certificates' library takes a while to load.
        settings = self._preparation.settings
        if settings.member_of:
            from kontinuum.cli.joining import prepare_member

            # Nothing of a member waits for an API server of its own.
            self._preparation.passed.set()
            seconds = await prepare_member(settings, self._clock)
        else:
            from kontinuum.cli.preparation import prepare

            seconds = prepare(settings, self._clock)
        self._preparation.certified.set()
        return seconds

    async def _renew(self) -> None:
        """Certificates: at once, and again whenever one is about to expire; then the parts read them anew."""
        seconds = await self._prepare()
        while True:
            await self._clock.sleep(seconds + 1)
            issued = self._issued()
            try:
                seconds = await self._prepare()
            except (KontinuumError, OSError) as error:
                log.error("certificates cannot be renewed and will be tried again", error=str(error))
                seconds = RENEW_AGAIN_SECONDS
                continue
            if self._issued() == issued:
                continue
            log.info("certificates were renewed; the parts that use them start again")
            for keeper in self._keepers:
                if keeper.part.name in ("server", "controllers", "node", "network") and keeper.pid is not None:
                    os.kill(keeper.pid, signal.SIGTERM)

    def _issued(self) -> dict[str, int]:
        """When each certificate was written, in nanoseconds since the epoch."""
        return {str(file): file.stat().st_mtime_ns for file in self._paths.pki.rglob("*.crt")}

    async def _probe(self) -> None:
        from kontinuum.runtime.vmm import choice
        from kontinuum.runtime.vmm.accelerator import Accelerator, probe

        await self._preparation.let_server_pass()
        settings = self._preparation.settings.runtime
        accelerator = Accelerator(settings.accelerator, "configured") if settings.accelerator else await probe()
        log.info("probed the accelerator", accelerator=accelerator.name, reason=accelerator.reason)
        vmm = choice.choose(settings, accelerator)
        log.info("microVMs will run on", vmm=vmm.name, reason=vmm.reason)
        self._preparation.learn_machines(accelerator=accelerator.name, vmm=vmm.name)
        self._write()

    async def _import_images(self) -> None:
        """The images that were built from the distribution's packages: no registry is needed to start with."""
        from kontinuum.images.containerd import import_missing

        settings = self._preparation.settings
        archives = sorted((Path(settings.assets_dir) / "images").glob("*.tar"))
        while not self._images_are_there:
            await self._wait_ready("containerd")
            try:
                await import_missing(settings.node.socket, [(f"localhost/{one.stem}:1", one) for one in archives])
            except KontinuumError as error:
                log.error("images cannot be imported and will be tried again", error=str(error))
                await self._clock.sleep(2.0)
                continue
            self._images_are_there = True
            self._write()

    async def _start_hosts(self) -> None:
        """The further hosts of this machine, where the settings ask for some."""
        settings = self._preparation.settings
        if settings.hosts.count == 1:
            return
        from kontinuum.cli.hosts import make_wires
        from kontinuum.cli.neighbourhood import start

        # At once: this machine's own node has its address there.
        await make_wires(settings)
        await self._preparation.probed.wait()
        await self._wait_ready("server")
        await self._wait_ready("controllers")
        await start(self._preparation.settings, self._clock)
        self._hosts_are_there = True
        self._write()

    async def _wait_ready(self, name: str) -> None:
        keeper = next(keeper for keeper in self._keepers if keeper.part.name == name)
        while keeper.state is not State.READY:
            await self._clock.sleep(0.02)

    # -- the end

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._stop_without_pods)

    def _stop_without_pods(self) -> None:
        self._leave_pods = True
        self._stop.set()

    async def _take_down(self) -> None:
        """First other hosts, then whoever starts pods, then the pods, then whoever serves both. Raises PodsLeft."""
        if not self._leave_pods and self._preparation.settings.hosts.count > 1:
            from kontinuum.cli.neighbourhood import stop

            await stop(self._paths, self._clock)
        await self._end("node", "controllers")
        try:
            if not self._leave_pods:
                await self._end_pods()
                namespace.release(self._paths.run / "holder")
        finally:
            # containerd first: while it calls our shim's client, the client would revive a parent that has gone.
            await self._end("server", "network", "containerd")
            await self._end("shim-parent")
            if not self._leave_pods:
                self._end_revived_parent()
            self._paths.state.unlink(missing_ok=True)

    async def _end(self, *names: str) -> None:
        await cancel(*(self._tasks.pop(name) for name in names if name in self._tasks))

    def _end_revived_parent(self) -> None:
        """The shim's client starts a parent of its own where it finds none; nobody needs it without pods."""
        pid = listener_of(self._paths.shim_socket)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    async def _end_pods(self) -> None:
        from kontinuum.cli.pods import stop_all

        try:
            async with asyncio.timeout(STOP_PODS_SECONDS):
                await self._wait_ready("containerd")
                await self._wait_ready("shim-parent")
                pods = await stop_all(self._preparation.settings.node.socket, self._clock)
        except* TimeoutError as group:
            raise PodsLeft(f"the pods did not stop within {STOP_PODS_SECONDS:g} s") from group
        except* KontinuumError as group:
            raise PodsLeft(f"stopping the pods: {'; '.join(map(str, group.exceptions))}") from group
        log.info("stopped the pods", pods=pods)
        leftovers.remove_cgroups(self._paths)

    # -- what others see

    def _changed(self) -> None:
        if any(keeper.part.name == "server" and keeper.state is State.READY for keeper in self._keepers):
            self._preparation.passed.set()
        self._write()

    def _write(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # The run directory is made a moment later.
            state.write(self._paths.state, self._present())

    def _present(self) -> state.PlatformState:
        me = identify(os.getpid())
        settings = self._preparation.settings
        return state.PlatformState(
            version=version(),
            pid=me.pid,
            started=me.started,
            since=self._since,
            ready=self._images_are_there
            and self._hosts_are_there
            and all(keeper.state is State.READY for keeper in self._keepers),
            address=settings.api_address,
            data_dir=str(self._paths.data),
            accelerator=settings.node.accelerator,
            vmm=settings.node.vmm,
            parts=[_state_of(keeper) for keeper in self._keepers],
        )


async def _first_failure_or(stop: asyncio.Task[bool], tasks: Sequence[asyncio.Task[None]]) -> None:
    """Return when ``stop`` is done; raise at once what makes one of ``tasks`` fall."""
    waiting: set[asyncio.Task[Any]] = {stop, *tasks}
    while not stop.done():
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()


def _state_of(keeper: Keeper) -> state.PartState:
    return state.PartState(
        name=keeper.part.name,
        state=keeper.state,
        pid=keeper.pid,
        since=keeper.since,
        restarts=keeper.restarts,
        last_exit=keeper.last_exit,
        log=str(keeper.part.log),
    )


def lock(file: Path) -> int:
    """Be the one supervisor of this installation, until we end. Raises AlreadyRunning."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise AlreadyRunning(f"{file.parent}: another supervisor keeps this installation running") from error
    return descriptor


async def _run(settings: Settings, *, only_stop_pods: bool) -> None:
    supervisor = Supervisor(settings, RealClock())
    await (supervisor.stop_pods() if only_stop_pods else supervisor.run())


def main(arguments: list[str]) -> int:
    """Supervise what the settings in the file ``arguments[0]`` describe. Returns the exit code."""
    settings = decode(Path(arguments[0]).read_bytes())
    configure_logs(component="supervisor", level=settings.log_level)
    try:
        held = lock(settings.installation.run / "supervisor.lock")
        namespace.enter(settings.installation.run / "holder")
        asyncio.run(_run(settings, only_stop_pods=STARTED_TO_STOP in arguments))
        os.close(held)
    except KontinuumError as error:
        print(f"kontinuum: {error}", file=sys.stderr)
        return code_of(error)
    except OSError as error:
        print(f"kontinuum: {error}", file=sys.stderr)
        return Exit.BROKEN
    return Exit.OK
