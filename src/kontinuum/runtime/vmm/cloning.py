"""Machines that come up from templates where there is one, and boot cold where there is none: what VMMs share of it.

A start that finds no template of its size waits for a while, because whoever makes templates hears of it. A template
that was made is cloned once for trial before a pod's machine is made of it; one that somebody else made is compared
byte by byte first.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Generic, TypeVar

from kontinuum.foundation.clock import Clock
from kontinuum.runtime.guest.port import Dial
from kontinuum.runtime.vmm.port import Machine, MachineNotStarted, MachineRefused, MachineSpec, Size
from kontinuum.runtime.vmm.templates import Hardware, Template, Templates

H = TypeVar("H", bound=Hardware)
M = TypeVar("M", bound=Machine)
AgentReady = Callable[[Dial], Awaitable[None]]
"""Returns when the agent that is called so has answered and been let go again."""

MEBIBYTE = 1 << 20
SMALLEST = 96 * MEBIBYTE
"""Below this the guest's kernel has no room for its own initramfs."""
STEP = 32 * MEBIBYTE
"""Machines come in multiples of this up to 256 MiB, in powers of two above: few sizes, few templates."""
LOAD_SECONDS = 60.0
BOOT_SECONDS = 180.0
"""A boot takes two; under translation on a crowded host (a load of 56 on two processors) more than 60 were seen."""
FIND_SECONDS = 0.02


def rounded(memory_bytes: int) -> int:
    """The size of machine that a request for ``memory_bytes`` gets."""
    if memory_bytes <= 256 * MEBIBYTE:
        return max(SMALLEST, -(-memory_bytes // STEP) * STEP)
    return 1 << (memory_bytes - 1).bit_length()


class CloningVmm(ABC, Generic[H, M]):
    """A ``Vmm`` but for what is each VMM's own."""

    @property
    @abstractmethod
    def brings_taps(self) -> bool: ...

    def __init__(self, templates: Templates, *, agent_ready: AgentReady, clock: Clock, patience: float) -> None:
        """A start waits ``patience`` seconds for a missing template before it boots cold: a cold machine's pages are
        all its pod's own, a clone's are shared."""
        self._templates = templates
        self._agent_ready = agent_ready
        self._clock = clock
        self._patience = patience
        self._verified: set[H] = set()
        """Whose templates we have made ourselves, or looked at every byte of."""

    @abstractmethod
    def _hardware(self, memory_bytes: int, cpus: int) -> H:
        """What a machine of this size is made of. Raises MachineRefused."""

    @abstractmethod
    async def _boot(self, spec: MachineSpec, hardware: H) -> M:
        """A machine whose kernel is on its way up. Raises MachineNotStarted, MachineRefused, VmmMissing."""

    @abstractmethod
    async def _clone(self, directory: Path, tap: int | None, hardware: H, template: Template) -> M:
        """A machine that goes on where the template was stopped. Raises as ``_boot``."""

    @abstractmethod
    async def _make(self, hardware: H, template: Template) -> None:
        """Boot a machine, and save it as the template's files once its agent is ready. Raises as ``_boot``."""

    async def start(self, spec: MachineSpec) -> M:
        hardware = self._hardware(spec.memory_bytes, spec.cpus)
        template = await self._find(hardware)
        if template is not None:
            try:
                return await self._clone(spec.directory, spec.tap, hardware, template)
            except (MachineNotStarted, MachineRefused, FileNotFoundError) as error:
                # A template that cannot be loaded would fail the next pod too.
                self._templates.discard(template, reason=str(error))
                self._templates.want(hardware)
        return await self._boot(spec, hardware)

    def size(self, *, memory_bytes: int, cpus: int) -> Size:
        hardware = self._hardware(memory_bytes, cpus)
        return Size(hardware.memory_bytes, hardware.cpus)

    async def prepare(self, *, memory_bytes: int, cpus: int) -> None:
        hardware = self._hardware(memory_bytes, cpus)
        found = self._templates.find(hardware)
        if found is not None and (hardware in self._verified or found.is_sound()):
            self._verified.add(hardware)
            return
        if found is not None:
            self._templates.discard(found, reason="its bytes are not what they were when it was finished")
        with self._templates.making(hardware) as template:
            if self._templates.find(hardware) is None:
                await self._make(hardware, template)
                template.seal()
                await self._try(hardware, template)
        self._verified.add(hardware)

    async def prepare_wanted(self) -> None:
        """Make every template that a start has missed so far."""
        for memory_bytes, cpus in self._templates.wanted():
            await self.prepare(memory_bytes=memory_bytes, cpus=cpus)

    async def _until_ready(self, machine: M) -> None:
        """Wait for the agent of the machine that becomes a template. Raises MachineNotStarted."""
        try:
            async with asyncio.timeout(BOOT_SECONDS):
                await self._agent_ready(machine.dial_agent)
        except TimeoutError:
            raise MachineNotStarted(f"the template's agent did not answer within {BOOT_SECONDS:g} s") from None

    async def _find(self, hardware: H) -> Template | None:
        """The template, which whoever makes templates may be asked for first; None after as long as a boot takes."""
        template = self._templates.find(hardware)
        if template is None:
            self._templates.want(hardware)
            deadline = self._clock.monotonic() + self._patience
            while template is None and self._clock.monotonic() < deadline:
                await self._clock.sleep(FIND_SECONDS)
                template = self._templates.find(hardware)
        return template

    async def _try(self, hardware: H, template: Template) -> None:
        """Clone it once, before a pod's machine is made of it. Raises MachineNotStarted."""
        machine = await self._clone(template.directory, None, hardware, template)
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                await self._agent_ready(machine.dial_agent)
        except TimeoutError:
            raise MachineNotStarted(f"the agent of a trial clone did not answer within {LOAD_SECONDS:g} s") from None
        finally:
            await machine.kill()
