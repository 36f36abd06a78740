"""The shim of one pod: what containerd may ask about it, and the tasks that keep it going.

Single-threaded; nothing here may block, because containerd gives State two seconds and then takes the pod for dead.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog

from kontinuum.foundation.clock import Clock
from kontinuum.foundation.tasks import cancel
from kontinuum.runtime import cgroups, messages, records
from kontinuum.runtime.backends import Backends
from kontinuum.runtime.container import Container
from kontinuum.runtime.events import Publisher
from kontinuum.runtime.guest.port import Exit, GuestLost
from kontinuum.runtime.messages import Timestamp
from kontinuum.runtime.oci import Pod, Role
from kontinuum.runtime.process import KILLED, Process, Stdio
from kontinuum.runtime.process import Phase as ProcessPhase
from kontinuum.runtime.records import ProcessRecord, SandboxRecord
from kontinuum.runtime.sandbox import Phase, Sandbox, SandboxOver
from kontinuum.runtime.settings import RuntimeSettings
from kontinuum.runtime.task.errors import NoSuchProcess
from kontinuum.runtime.vmm.port import MachineNotStarted
from kontinuum.runtime.warm import bustle
from kontinuum.runtime.warm.machine import Warm

log = structlog.get_logger(__name__)

NEVER_STARTED = 255
"""Exit status of a sandbox whose machine did not come up."""
_LAST_EVENTS_SECONDS = 2.0
_HEARING_SECONDS = 30.0
"""How long the news from a lost machine wait for containerd to have heard of the machine's end."""
_STARTING_SECONDS = 20.0
"""An image that must be pulled first does not keep the host from being at rest."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a shim lives and who it is."""

    namespace: str
    """containerd's, not Linux'."""
    sandbox: str
    directory: Path
    events_address: Path
    cgroups: tuple[Path, ...] = ()


class Shim:
    """Containers of one pod, and the sandbox under them."""

    def __init__(
        self,
        place: Place,
        pod: Pod,
        *,
        backends: Backends,
        settings: RuntimeSettings,
        clock: Clock,
        warm: Warm | None = None,
    ) -> None:
        """``warm`` is the machine with which this process waited for the pod."""
        self.place = place
        self.settings = settings
        self.backends = backends
        self.clock = clock
        self.containers: dict[str, Container] = {}
        self.finished = asyncio.Event()
        """Nothing is left to do; the process may end."""
        self.sandbox = Sandbox(
            pod,
            directory=place.directory,
            backends=backends,
            settings=settings,
            clock=clock,
            on_machine=self._record,
            is_quiet=self._is_quiet,
            warm=warm,
        )
        self._starting: int | None = None
        self._sandbox_dropped = asyncio.Event()
        """containerd has dropped the sandbox: it starts nothing in it any more."""
        self._publisher = Publisher(place.events_address, place.namespace, clock)
        self._tasks: set[asyncio.Task[object]] = set()

    def begin(self) -> None:
        """Start the machine and everything that runs beside it; returns at once."""
        self._starting = bustle.begin(self.settings.starting)
        asyncio.get_running_loop().call_later(_STARTING_SECONDS, self.settle)
        self._record(self.sandbox.machine_pid)
        self.spawn(self._publisher.run())
        self.spawn(self._watch_sandbox())
        self.sandbox.begin()

    def settle(self) -> None:
        """The pod is not starting any more: its first process runs, or it has had time enough. Idempotent."""
        if self._starting is not None:
            os.close(self._starting)
            self._starting = None

    def _is_quiet(self) -> bool:
        """Whether no other pod is starting on this host."""
        return bustle.is_over(self.settings.starting) if self._starting is None else bustle.is_alone(self._starting)

    async def end(self) -> None:
        """Stop everything; events that can still be delivered are."""
        self.settle()
        self._sandbox_dropped.set()
        await self.sandbox.stop()
        await self.wait_events_taken()
        await cancel(*(task for task in self._tasks if task is not asyncio.current_task()))

    def container(self, id: str) -> Container:
        """Raises NoSuchProcess."""
        if id not in self.containers:
            raise NoSuchProcess(f"container {id}: not found")
        return self.containers[id]

    def process(self, id: str, exec_id: str) -> Process:
        """Raises NoSuchProcess."""
        return self.container(id).process(exec_id)

    def make_process(self, *, container: str, exec_id: str, stdio: Stdio) -> Process:
        """A process that is not started yet."""
        return Process(
            container=container,
            exec_id=exec_id,
            stdio=stdio,
            clock=self.clock,
            drain_seconds=self.settings.drain_seconds,
            on_exit=self._exited,
            lost_exit=self._lost_exit,
        )

    async def drop_sandbox(self) -> None:
        """containerd deletes the sandbox container: its machine ends, and what has waited to be told may be told."""
        await self.sandbox.stop()
        self._sandbox_dropped.set()

    async def wait_sandbox_dropped(self) -> None:
        """Of a machine that is lost: until containerd has dropped the sandbox, so that whoever hears of an end in it,
        or that nothing starts in it, finds the sandbox dead and makes another instead of trying this one again.

        Bounded, because containerd may be away; an end must be told even so.
        """
        if self.sandbox.phase in (Phase.STOPPING, Phase.STOPPED):
            # Its end was asked for: whoever did knows.
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_HEARING_SECONDS):
                await self._sandbox_dropped.wait()

    @asynccontextmanager
    async def failing_after_sandbox(self) -> AsyncIterator[None]:
        """What fails in here because the machine is lost fails when ``wait_sandbox_dropped`` says so."""
        try:
            yield
        except (SandboxOver, GuestLost, MachineNotStarted):
            await self.wait_sandbox_dropped()
            raise

    def publish(self, event: msgspec.Struct) -> None:
        """Tell containerd; returns at once."""
        self._publisher.publish(event)

    async def wait_events_taken(self) -> None:
        """Until containerd has what was published. Bounded, because it may be away."""
        await self._publisher.wait_empty(timeout=_LAST_EVENTS_SECONDS)

    def spawn(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run something beside the calls, until its end or ours."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task of the shim failed", error=repr(task.exception()))

    async def _lost_exit(self) -> Exit:
        """Of what ran in a machine that is lost: the host may have had no more memory for it than the pod may use."""
        await self.wait_sandbox_dropped()
        return Exit(KILLED, out_of_memory=cgroups.memory_kills(self.place.cgroups) > 0)

    def _exited(self, process: Process, exit: Exit) -> None:
        # containerd and Kubernetes learn OOMKilled only from an event that comes before the exit.
        if exit.out_of_memory:
            self.publish(messages.TaskOOM(process.container))
        self.publish(
            messages.TaskExit(
                container_id=process.container,
                id=process.exec_id or process.container,
                pid=process.pid,
                exit_status=exit.status,
                exited_at=Timestamp.of(process.exited_at),
            )
        )
        if not process.exec_id:
            self._end_execs(process.container)

    def _end_execs(self, container: str) -> None:
        """No exec outlives the first process of its container."""
        for process in self.containers[container].execs.values() if container in self.containers else ():
            if process.phase is ProcessPhase.RUNNING:
                self.spawn(_kill(process))

    async def _watch_sandbox(self) -> None:
        """A machine that failed or was lost ends its sandbox container, which is how containerd hears of it."""
        phase = await self.sandbox.wait_over()
        status = NEVER_STARTED if phase is Phase.FAILED else KILLED
        for container in self.containers.values():
            if container.role is Role.SANDBOX:
                container.init.end(Exit(status))

    def _record(self, machine: int) -> None:
        """Write down who must be killed if we are."""
        processes = (records.process_record(pid) for pid in (os.getpid(), machine) if pid)
        known: tuple[ProcessRecord, ...] = tuple(process for process in processes if process is not None)
        record = SandboxRecord(self.place.sandbox, known, tuple(map(str, self.place.cgroups)))
        records.write(self.place.directory, record)


async def _kill(process: Process) -> None:
    try:
        await process.signal(9, whole_container=False)
    except NoSuchProcess:
        log.debug("the exec had ended by itself", exec_id=process.exec_id)
