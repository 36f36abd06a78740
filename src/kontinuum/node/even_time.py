"""Even time: what the wall clock said when this was made, and since then every second exactly one.

Durations are measured by it: back-off, deadlines, the first probe. Whoever sets the machine's clock, and NTP when it
steps it, changes what is written into statuses from then on, and nothing that is waited for.
"""

from __future__ import annotations

from dataclasses import replace

from kontinuum.foundation.clock import Clock
from kontinuum.node.observed import Container, Observed


class EvenTime:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = clock.time() - clock.monotonic()
        self._containers: dict[str, tuple[float, float]] = {}

    def now(self) -> float:
        return self._clock.monotonic() + self._ahead

    def of(self, stamp: float) -> float:
        """When that was which the wall clock has stamped, judged by the wall clock now; never in the future.

        Ask soon after the stamp, and only once: what the clock does in between cannot be told from time that passes.
        """
        return self.now() - max(0.0, self._clock.time() - stamp)

    def place(self, observed: Observed) -> Observed:
        """``observed`` with the even times at which containers began and ended, as judged when that was first seen."""
        placed = [replace(one, even=self._times(one)) for one in observed.containers]
        self._containers = {one.id: one.even for one in placed if one.even is not None}
        return replace(observed, containers=tuple(placed))

    def _times(self, one: Container) -> tuple[float, float]:
        began, ended = self._containers.get(one.id, (0.0, 0.0))
        if not began and one.started_at:
            began = self.of(one.started_at)
        if not ended and one.has_exited:
            ended = self.of(one.finished_at or one.created_at)
        return began, ended
