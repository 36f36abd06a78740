"""How many machines wait and of which size, and when one more is made: never while a pod starts, never without room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import structlog

from kontinuum.foundation import tallies
from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import Clock
from kontinuum.runtime.settings import STANDBYS, RuntimeSettings
from kontinuum.runtime.vmm.port import Size
from kontinuum.runtime.warm import bustle, sizes
from kontinuum.runtime.warm.pool import Pool

log = structlog.get_logger(__name__)

QUIET_SECONDS = 0.5
"""For so long no pod may have been starting: between two of a burst nobody starts for a moment, too."""
UNSEEN_SECONDS = 10.0
"""After so long, one that was asked for and has not been seen yet is asked for again."""
_AGAIN = Backoff(initial=1.0, maximum=60.0, jitter=0.0)


class Step(Enum):
    """What to do now."""

    MAKE = "make"
    END = "end"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Facts:
    """The pool of one size, and its host."""

    ready: int
    making: int
    quiet_seconds: float
    """How long no pod has been starting."""
    available_bytes: int
    """Of the host's memory."""
    others: int = 0
    """Machines that wait and are of a size that is not wanted any more."""


def plan(facts: Facts, *, wanted: int, spare_bytes: int, size: Size) -> Step:
    """One step towards ``wanted`` machines. Those that wait go as soon as less than half of ``spare_bytes`` is left;
    one is made only if all of it is left when the machine has used all of its memory. Between the two nothing happens,
    so that none is made only to be ended. One of another size goes when one of this could be made in its place."""
    waiting = facts.ready + facts.others
    if waiting and (waiting + facts.making > wanted or facts.available_bytes < spare_bytes // 2):
        return Step.END
    has_room = facts.available_bytes >= spare_bytes + size.memory_bytes
    if facts.making or facts.ready >= wanted or not has_room or facts.quiet_seconds < QUIET_SECONDS:
        return Step.WAIT
    return Step.MAKE if waiting < wanted else Step.END


@dataclass(slots=True)
class Keeper:
    """Looks after the machines that wait. ``ask`` has a standby made, and returns at once."""

    pool: Pool
    default: Size
    """Of which size they are while pods have not asked for another."""
    settings: RuntimeSettings
    clock: Clock
    ask: Callable[[Size], None]
    available_bytes: Callable[[], int]
    _busy_at: float = field(init=False)
    _not_before: float = 0.0
    _failures: int = 0
    _asked: tuple[int, int] | None = None
    """What was counted when one was asked for: made, and failed."""

    def __post_init__(self) -> None:
        self._busy_at = self.clock.monotonic()
        # Whoever made these has ended: they may be of another agent, another kernel, other settings.
        self.pool.sweep(everything=True)
        sizes.forget(self.settings.sizes)

    def look(self) -> Step:
        """Take one step, if there is one to take. Some file system calls. Raises OSError."""
        now = self.clock.monotonic()
        if not bustle.is_over(self.settings.starting):
            self._busy_at = now
        self.pool.sweep()
        self._hear(now)
        size = sizes.wanted(self.settings.sizes) or self.default
        ready, others = self.pool.ready(size), self.pool.others(size)
        making = self.pool.making(size)
        facts = Facts(len(ready), len(making), now - self._busy_at, self.available_bytes(), len(others))
        step = plan(facts, wanted=self.settings.warm_machines, spare_bytes=self.settings.warm_spare_bytes, size=size)
        if step is Step.END:
            log.info("a warm machine is ended", available_bytes=facts.available_bytes, ready=facts.ready, wanted=size)
            self.pool.end([*others, *ready][0])
        elif step is Step.MAKE:
            if now < self._not_before:
                return Step.WAIT
            self._asked = self._counted()
            self._not_before = now + UNSEEN_SECONDS
            self.ask(size)
        return step

    def _hear(self, now: float) -> None:
        """What became of the one that was asked for last: after a failure the next one waits for longer and longer."""
        if self._asked is None:
            return
        made, failed = self._counted()
        if made > self._asked[0]:
            self._asked, self._failures, self._not_before = None, 0, now
        elif failed > self._asked[1]:
            self._failures += 1
            self._asked, self._not_before = None, now + _AGAIN.delay(self._failures)

    def _counted(self) -> tuple[int, int]:
        counts = tallies.read(self.settings.tallies(STANDBYS))
        return counts.get("made", 0), counts.get("failed", 0)


def available_bytes(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Memory that the host can still give without hurting anybody."""
    for line in meminfo.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
