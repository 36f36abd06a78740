"""The life of a pod's machine.

    NEW ── begin ──▶ STARTING ── agent identified ──▶ READY
                        │ cannot                        │ the VMM died
                        ▼                               ▼
                      FAILED                          LOST
    any of them ── stop ──▶ STOPPING ── VMM gone ──▶ STOPPED

``begin`` returns at once; containers wait for READY, questions about state never do. There is no way back: a machine
that is gone is not replaced under its pod; who wants the pod makes a new sandbox, as Kubernetes does.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import structlog

from kontinuum.foundation import tallies
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import KontinuumError, Refused
from kontinuum.foundation.tasks import cancel
from kontinuum.runtime import layers, network
from kontinuum.runtime.backends import Backends
from kontinuum.runtime.forwarding import forward_ports
from kontinuum.runtime.guest.port import Guest, GuestLost, Identity, Interface
from kontinuum.runtime.messages import Mount
from kontinuum.runtime.network import PodNetwork
from kontinuum.runtime.oci import Document, Pod
from kontinuum.runtime.settings import STARTS, RuntimeSettings
from kontinuum.runtime.taps import Apart
from kontinuum.runtime.timekeeping import keep_time
from kontinuum.runtime.vmm.port import Machine, MachineNotStarted, MachineRefused, MachineSpec, Origin, Size
from kontinuum.runtime.volumes import Volumes
from kontinuum.runtime.warm.machine import Warm

log = structlog.get_logger(__name__)

_NO_MAC = "02:00:00:00:00:01"
_MACHINES = 3
"""How many machines are tried for one pod."""
LET_GO_SECONDS = 30.0
"""How long a machine may take to write what it has in memory to its disks before it is ended."""
_ENDING_SECONDS = 1.0
_PULLING_SECONDS = 0.3
"""When a ready machine has been asked for nothing for so long, its pod's first image is being pulled: without a pull
the first container is there before the machine is."""
_ROOM_SECONDS = 1.0
"""How often a machine that found no room on the host's disk tries again."""
_CALLS = 5
"""How often an agent is called before its machine is given up."""


class Phase(Enum):
    """See the module."""

    NEW = "new"
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    LOST = "lost"
    STOPPING = "stopping"
    STOPPED = "stopped"


_MOVES = {
    Phase.NEW: {Phase.STARTING, Phase.STOPPING},
    Phase.STARTING: {Phase.READY, Phase.FAILED, Phase.STOPPING},
    Phase.READY: {Phase.LOST, Phase.STOPPING},
    Phase.FAILED: {Phase.STOPPING},
    Phase.LOST: {Phase.STOPPING},
    Phase.STOPPING: {Phase.STOPPED},
    Phase.STOPPED: set[Phase](),
}


class MoveRefused(Refused):
    """The sandbox cannot go from where it is to where it was asked to go."""


class SandboxOver(Refused):
    """The machine is not there (any more); the message says why."""


def move(phase: Phase, to: Phase) -> Phase:
    """``to``, if the picture above has an arrow to it. Raises MoveRefused."""
    if to not in _MOVES[phase]:
        raise MoveRefused(f"a sandbox that is {phase.value} cannot become {to.value}")
    return to


def wanted_size(pod: Pod, settings: RuntimeSettings) -> Size:
    """What a machine must have for the pod's limits. Without a limit it gets the default; with one, at least that."""
    limits = pod.resources
    most_cpus = settings.maximum_cpus or os.cpu_count() or 1
    memory = max(settings.default_memory_bytes, limits.memory_bytes + settings.guest_memory_bytes)
    return Size(
        memory_bytes=memory if limits.memory_bytes else settings.default_memory_bytes,
        cpus=max(1, min(limits.cpus, most_cpus)),
    )


@dataclass(frozen=True, slots=True)
class Root:
    """The disks of a container's root file system, by their slots."""

    image: str
    layer: str = ""
    """"": it writes to the machine's memory."""
    file: Path | None = None
    """The layer's, on the host."""


class Sandbox:
    """One pod's machine, its agent, the disks and volumes in it."""

    def __init__(
        self,
        pod: Pod,
        *,
        directory: Path,
        backends: Backends,
        settings: RuntimeSettings,
        clock: Clock,
        on_machine: Callable[[int], None],
        is_quiet: Callable[[], bool],
        warm: Warm | None = None,
    ) -> None:
        """``on_machine`` hears the VMM's process number as soon as there is one; ``is_quiet`` says whether this host
        has a processor to spare. ``warm`` is a machine that waited for a pod like this; without, or if it is of no use,
        one is started."""
        self.pod = pod
        self.phase = Phase.NEW
        self.reason = ""
        """Why it is FAILED or LOST."""
        self._directory = directory
        self._backends = backends
        self._settings = settings
        self._clock = clock
        self._on_machine = on_machine
        self._is_quiet = is_quiet
        self._warm = warm
        self._machine: Machine | None = warm.machine if warm is not None else None
        self._guest: Guest | None = warm.guest if warm is not None else None
        self._volumes = Volumes(
            limit_bytes=settings.volume_copy_limit_bytes, attach=self._attach_volume, detach=self._detach
        )
        self._disks: dict[Path, _Disk] = {}
        self._is_wanted = asyncio.Event()
        """Somebody has asked for a container."""
        self._stands_still = asyncio.Event()
        """The host has no room for what the machine writes, and may have some again."""
        self._changed = asyncio.Condition()
        self._life: asyncio.Task[object] | None = None

    def begin(self) -> None:
        """Start the machine in the background."""
        self._move(Phase.STARTING)
        self._life = asyncio.get_running_loop().create_task(self._live())

    @property
    def is_starting(self) -> bool:
        """Whether there is no agent yet, and may be one."""
        return self.phase in (Phase.NEW, Phase.STARTING)

    @property
    def stands_still(self) -> bool:
        """Whether the machine waits for room on the host's disk: its agent answers when there is some."""
        return self._stands_still.is_set()

    async def wait_stands_still(self) -> None:
        """Return when ``stands_still``."""
        await self._stands_still.wait()

    async def guest(self) -> Guest:
        """The agent, as soon as the machine is ready. Raises SandboxOver."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self.is_starting)
        if self.phase is not Phase.READY or self._guest is None:
            raise SandboxOver(
                f"the machine of this pod is {self.phase.value}" + (f": {self.reason}" * bool(self.reason))
            )
        return self._guest

    async def wait_over(self) -> Phase:
        """FAILED, LOST or STOPPED, once it is."""
        over = (Phase.FAILED, Phase.LOST, Phase.STOPPED)
        async with self._changed:
            await self._changed.wait_for(lambda: self.phase in over)
        return self.phase

    async def stop(self) -> None:
        """End the machine. Idempotent, and may be asked for at any time."""
        if self.phase in (Phase.STOPPING, Phase.STOPPED):
            await self.wait_over()
            return
        # Before anything is awaited: a second call must find that the first is at it.
        self._move(Phase.STOPPING)
        if self._life is not None:
            await cancel(self._life)
        await self._let_go_of_disks()
        await self._end_machine()
        self._move(Phase.STOPPED)
        await self._tell()

    async def attach_root(self, rootfs: tuple[Mount, ...], *, writable: bool) -> Root:
        """What a container's root file system is made of, as disks of the machine.

        Raises SandboxOver, MachineRefused, OSError (the host's disk is full), or what the image builder raises.
        """
        self._is_wanted.set()
        image, _guest = await asyncio.gather(self._backends.image_for(rootfs), self.guest())
        root = Root(await self._attach_image(image))
        if not writable:
            return root
        try:
            file = layers.file_of(rootfs)
            return Root(root.image, await self._running_machine().attach_layer(file), file)
        except BaseException:
            await self.detach_root(root)
            raise

    async def detach_root(self, root: Root) -> None:
        """Give back what ``attach_root`` gave, as far as the guest has let go of it. Harmless on a dead machine."""
        if root.layer:
            await self._detach(root.layer)
        if root.file is not None:
            # containerd would keep it until its next collection, and the container's directory with it.
            root.file.unlink(missing_ok=True)
        await self._detach_image(root.image)

    async def _attach_image(self, image: Path) -> str:
        """Containers share it. Returns its slot."""
        machine = self._running_machine()
        disk = self._disks.setdefault(image, _Disk())
        async with disk.lock:
            if disk.users == 0:
                disk.slot = await machine.attach_disk(image, read_only=True)
            disk.users += 1
        return disk.slot

    async def _detach_image(self, slot: str) -> None:
        """The last one to do so frees the slot."""
        disk = next((disk for disk in self._disks.values() if disk.slot == slot), None)
        if disk is None:
            return
        async with disk.lock:
            disk.users -= 1
            if disk.users == 0:
                # The slot is the next image's: who looks for that must not find this one.
                disk.slot = ""
                await self._detach(slot)

    async def provide_volumes(self, mounts: list[Document]) -> dict[str, str]:
        """See Volumes.provide."""
        return await self._volumes.provide(await self.guest(), mounts)

    async def bring_back_files(self, mounts: list[Document]) -> None:
        """See Volumes.bring_back; from a machine that is gone nothing comes back."""
        if self._guest is not None:
            with suppress(GuestLost):
                await self._volumes.bring_back(self._guest, mounts)

    async def _attach_volume(self, image: Path) -> str:
        return await self._running_machine().attach_disk(image, read_only=False)

    async def _detach(self, slot: str) -> None:
        if self._machine is not None and self.phase is Phase.READY:
            await self._machine.detach_disk(slot)

    def _running_machine(self) -> Machine:
        if self._machine is None:
            raise SandboxOver("the machine of this pod is gone")
        return self._machine

    async def _let_go_of_disks(self) -> None:
        """Before an orderly end: what containers wrote and did not sync must outlive the machine."""
        try:
            async with asyncio.timeout(LET_GO_SECONDS):
                if self._guest is not None:
                    await self._volumes.let_go(self._guest)
        except (TimeoutError, GuestLost) as error:
            log.warning("the machine ends without having unmounted its disks", reason=repr(error))

    @property
    def machine_pid(self) -> int:
        """The VMM's process; 0 if there is none."""
        return self._machine.pid if self._machine is not None else 0

    async def _live(self) -> None:
        """From STARTING to the machine's end, unless ``stop`` cancels it."""
        try:
            async with asyncio.timeout(self._settings.machine_start_seconds):
                machine, origin = await self._start()
        except TimeoutError:
            await self._fail(f"its agent did not answer within {self._settings.machine_start_seconds:g} s")
            return
        except (KontinuumError, OSError) as error:
            await self._fail(str(error))
            return
        except Exception as error:
            await self._fail(_defect(error))
            return
        self._move(Phase.READY)
        await self._tell()
        always = [self._keep_volumes_fresh(), self._keep_time(), self._forward_ports()]
        if origin != "warm":
            always.append(self._rehearse(machine))
        chores = [asyncio.ensure_future(chore) for chore in always]
        try:
            self.reason = await self._wait_lost(machine)
        except Exception as error:
            self.reason = _defect(error)
        finally:
            for chore in chores:
                chore.cancel()
        log.error("the machine is lost", reason=self.reason)
        self._move(Phase.LOST)
        await self._end_machine()
        await self._tell()

    async def _wait_lost(self, machine: Machine) -> str:
        """Why the machine is of no use any more: its VMM has ended, or its agent cannot be spoken with.

        Without its agent a machine runs on, but nothing is known of it, and nobody could be told the truth.
        """
        assert self._guest is not None
        ended = asyncio.ensure_future(machine.wait())
        lost = asyncio.ensure_future(self._guest.wait_lost())
        full = asyncio.ensure_future(self._wait_full_for_good(machine))
        try:
            await asyncio.wait({ended, lost, full}, return_when=asyncio.FIRST_COMPLETED)
            if full.done():
                return full.result()
            # A VMM that ends closes its sockets first; that it ended is what people want to read.
            await asyncio.wait({ended}, timeout=_ENDING_SECONDS)
            return f"its VMM ended with status {ended.result()}" if ended.done() else lost.result()
        finally:
            await cancel(*(task for task in (ended, lost, full) if not task.done()))

    async def _wait_full_for_good(self, machine: Machine) -> str:
        """Why a machine is of no use that the host has no room for. Until then it stands still, and nothing that it has
        written is lost: the node may end pods, this one perhaps, to make room."""
        with suppress(MachineNotStarted):
            while True:
                await machine.wait_full()
                self._stands_still.set()
                since = self._clock.monotonic()
                log.error("the host's disk is full: the machine stands still until there is room")
                while await self._is_still_full(machine):
                    if self._clock.monotonic() - since >= self._settings.full_disk_seconds:
                        return f"the host had no room for what it writes for {self._settings.full_disk_seconds:g} s"
                self._stands_still.clear()
                log.info("there is room on the host's disk again", after=round(self._clock.monotonic() - since))
        # The machine is gone, which others tell.
        await asyncio.Event().wait()
        raise AssertionError("an event that nobody sets")

    async def _is_still_full(self, machine: Machine) -> bool:
        await self._clock.sleep(_ROOM_SECONDS)
        with suppress(MachineRefused):
            await machine.resume()
        with suppress(TimeoutError):
            async with asyncio.timeout(_ROOM_SECONDS):
                await machine.wait_full()
                return True
        return False

    async def _start(self) -> tuple[Machine, str]:
        began = self._clock.monotonic()
        warm, self._warm = self._warm, None
        machine = await self._awaken(warm) if warm is not None else None
        origin = "warm" if machine is not None else ""
        if machine is None:
            machine = await self._start_cloned()
            origin = machine.origin
        tallies.add(self._settings.tallies(STARTS), origin)
        log.info("machine ready", origin=origin, milliseconds=round((self._clock.monotonic() - began) * 1000))
        return machine, origin

    async def _start_cloned(self) -> Machine:
        late = self._backends.vmm.brings_taps
        joined = None if late else self._join_network()
        try:
            machine, guest = await self._machine_with_agent(self._machine_spec(joined))
        finally:
            if joined is not None and joined.tap is not None:
                os.close(joined.tap)  # the VMM has its own copy; with the last one the tap vanishes
        joined = self._join_network(machine.tap) if late else joined
        await guest.identify(self._identity(joined.interface if joined is not None else None))
        return machine

    async def _awaken(self, warm: Warm) -> Machine | None:
        """The machine that waited, as this pod's. None if it is of no use; then it is gone, and its tap with it."""
        try:
            async with asyncio.timeout(self._settings.clone_agent_seconds):
                if warm.machine.is_sound():
                    joined = self._join_network(warm.tap or warm.machine.tap)
                    if joined is not None and joined.tap is not None:
                        os.close(joined.tap)
                    await warm.machine.resume()
                    await warm.guest.identify(self._identity(joined.interface if joined is not None else None))
                    return warm.machine
            why = "the template that it shares memory with is not what it was"
        except (TimeoutError, KontinuumError) as error:
            why = repr(error)
        finally:
            if warm.tap is not None:
                warm.tap.close()
        log.warning("a warm machine is of no use; another is started", why=why)
        await self._end_machine()
        return None

    async def _machine_with_agent(self, spec: MachineSpec) -> tuple[Machine, Guest]:
        """A machine whose agent answers. One that hangs is given up and another is tried. Raises MachineNotStarted."""
        last = ""
        for _attempt in range(_MACHINES):
            machine = self._machine = await self._backends.vmm.start(spec)
            self._on_machine(machine.pid)
            try:
                async with asyncio.timeout(self._patience(machine.origin)):
                    guest = self._guest = await self._call(machine)
            except (TimeoutError, GuestLost) as error:
                log.warning("a machine's agent does not answer; trying another", origin=machine.origin, why=repr(error))
                last = str(error) or f"no answer within {self._patience(machine.origin):g} s"
                await self._end_machine()
            else:
                return machine, guest
        raise MachineNotStarted(f"the agents of {_MACHINES} machines did not answer, one after the other: {last}")

    async def _call(self, machine: Machine) -> Guest:
        """Its agent, called again when it does not pick up: a clone may be born in the middle of a call that ended."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience(machine.origin) / _CALLS):
                    return await self._connect(machine)
            log.warning("a machine's agent has not answered yet", origin=machine.origin)

    def _patience(self, origin: Origin) -> float:
        """Seconds for the agent's first answer; a clone was waiting for us before it was saved."""
        return self._settings.cold_agent_seconds if origin == "cold" else self._settings.clone_agent_seconds

    async def _connect(self, machine: Machine) -> Guest:
        """The agent, or the news that the VMM died before there was one."""
        connecting = asyncio.ensure_future(self._backends.connect(machine.dial_agent))
        dying = asyncio.ensure_future(machine.wait())
        try:
            await asyncio.wait({connecting, dying}, return_when=asyncio.FIRST_COMPLETED)
            if connecting.done():
                return connecting.result()
            raise MachineNotStarted(f"the VMM ended with status {dying.result()} before its agent answered")
        finally:
            await cancel(*(task for task in (connecting, dying) if not task.done()))

    def _join_network(self, tap: Apart | None = None) -> PodNetwork | None:
        namespace = self.pod.network_namespace
        return network.join(namespace, tap) if namespace is not None else None

    def _machine_spec(self, joined: PodNetwork | None) -> MachineSpec:
        wanted = wanted_size(self.pod, self._settings)
        return MachineSpec(
            id=self._directory.name,
            memory_bytes=wanted.memory_bytes,
            cpus=wanted.cpus,
            tap=joined.tap if joined is not None else None,
            mac=joined.interface.mac if joined is not None else _NO_MAC,
            directory=self._directory,
        )

    def _identity(self, interface: Interface | None) -> Identity:
        return Identity(
            hostname=self.pod.hostname,
            unix_time=self._clock.time(),
            entropy=secrets.token_bytes(64),
            machine_id=secrets.token_hex(16),
            interfaces=(interface,) if interface is not None else (),
            sysctls=self.pod.sysctls,
        )

    async def _rehearse(self, machine: Machine) -> None:
        """While its pod waits for its image, the machine does for the first time what takes longest then."""
        assert self._guest is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(_PULLING_SECONDS):
                await self._is_wanted.wait()
        if self._is_wanted.is_set() or not self._is_quiet():
            return
        try:
            await self._backends.rehearse(machine, self._guest)
        except KontinuumError as error:
            log.warning("the machine's rehearsal failed; its pod starts without", reason=str(error))
        else:
            log.info("the machine has rehearsed while its pod waited")

    async def _keep_volumes_fresh(self) -> None:
        assert self._guest is not None
        with suppress(GuestLost):
            await self._volumes.keep_fresh(self._guest, every=self._settings.volume_refresh_seconds, clock=self._clock)

    async def _keep_time(self) -> None:
        assert self._guest is not None
        with suppress(GuestLost):
            await keep_time(self._guest, self._clock, every=self._settings.clock_check_seconds)

    async def _forward_ports(self) -> None:
        if self._guest is not None and self.pod.network_namespace is not None:
            await forward_ports(self.pod.network_namespace, self._guest)

    async def _fail(self, reason: str) -> None:
        log.error("the machine did not start", reason=reason)
        self.reason = reason
        self._move(Phase.FAILED)
        await self._end_machine()
        await self._tell()

    async def _end_machine(self) -> None:
        guest, self._guest = self._guest, None
        machine, self._machine = self._machine, None
        if machine is not None:
            await machine.kill()
        if guest is not None:
            await guest.close()

    def _move(self, to: Phase) -> None:
        self.phase = move(self.phase, to)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class _Disk:
    """An attached image and how many containers use it."""

    def __init__(self) -> None:
        self.slot = ""
        self.users = 0
        self.lock = asyncio.Lock()


def _defect(error: Exception) -> str:
    """What people read when it was our fault: the pod is told all the same, because it would wait for ever."""
    log.error("a defect of the shim ends a pod's machine", exc_info=error)
    return f"its shim has a defect, which is in its log: {error!r}"
