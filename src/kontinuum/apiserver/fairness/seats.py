"""The seats of a server and who gets the next one. No I/O: the caller waits for ``Waiting.admitted``.

    own       a level with fewer seats in use than it is guaranteed gets one at once, whatever others do
    borrowed  beyond that a seat must be free that no other level is guaranteed, and if any level waits, the one that
              uses the smallest part of its nominal seats is served first

So ``used + guaranteed but unused <= total`` holds at any time, and what is lent comes back as soon as a request ends.
"""

from __future__ import annotations

from collections.abc import Mapping

from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.fairness.level import Level, Seat
from kontinuum.apiserver.fairness.limits import limits_of
from kontinuum.apiserver.fairness.queues import Waiting
from kontinuum.foundation.clock import Clock


class Seats:
    """All levels of one server. ``total`` is how many seats they have together."""

    def __init__(self, total: int, clock: Clock) -> None:
        self._asked_total = total
        self._clock = clock
        self._used = 0
        self._reserved = 0
        self._waiting = 0
        self.total = total
        self.levels: dict[str, Level] = {}

    def define(self, objects: Mapping[str, Object]) -> None:
        """Take over the PriorityLevelConfigurations that there are now, by name. Those in use are not disturbed."""
        limits = limits_of({name: obj["spec"] for name, obj in objects.items()}, self._asked_total)
        for name, obj in objects.items():
            level = self.levels.setdefault(name, Level(name))
            level.define(obj["metadata"].get("uid", ""), obj["spec"], limits[name])
        for name in set(self.levels) - set(objects):
            level = self.levels[name]
            level.is_defined = False
            if not level.executing and not level.waiting:
                del self.levels[name]
        # Rounding up may give the levels a few seats more than there were to share.
        self.total = max(self._asked_total, sum(one.guaranteed for one in limits.values()))
        self._reserved = sum(_unused(level) for level in self.levels.values())
        self._serve()

    def enter(self, level: Level, width: int) -> Seat | None:
        """A seat if one is free and nobody waits for it, else None."""
        if level.is_exempt:
            level.executing += 1
            level.dispatched += 1
            level.seats += width
            return Seat(self, level, width)
        if self._waiting and not (level.seats + width <= level.limits.guaranteed and not level.waiting):
            return None
        if not self._has_room(level, width):
            return None
        self._sit(level, width)
        return Seat(self, level, width)

    def wait(self, level: Level, waiting: Waiting) -> bool:
        """Queue a request; False if it cannot wait."""
        if not level.can_queue or level.queues is None or not level.queues.put(waiting):
            return False
        self._waiting += 1
        self._serve()
        return True

    def give_up(self, level: Level, waiting: Waiting) -> None:
        """Somebody who has not been admitted waits no longer."""
        assert level.queues is not None
        level.queues.remove(waiting)
        self._waiting -= 1
        self._serve()

    def seat_of(self, level: Level, waiting: Waiting) -> Seat:
        """The seat of somebody who has been admitted."""
        return Seat(self, level, waiting.width, began=self._clock.monotonic(), queue=waiting.queue)

    def leave(self, seat: Seat) -> None:
        level = seat.level
        level.executing -= 1
        if level.is_exempt:
            level.seats -= seat.width
            return
        before = _unused(level)
        level.seats -= seat.width
        self._used -= seat.width
        self._reserved += _unused(level) - before
        if seat.queue is not None:
            seat.queue.settle(seat.width, self._clock.monotonic() - seat.began)
        if self._waiting:
            self._serve()

    def _has_room(self, level: Level, width: int) -> bool:
        limits, seats = level.limits, level.seats
        if seats + width <= limits.guaranteed:
            return True
        others = self._reserved - _unused(level)
        return seats + width <= limits.most and self._used + width + others <= self.total

    def _sit(self, level: Level, width: int) -> None:
        before = _unused(level)
        level.seats += width
        level.executing += 1
        level.dispatched += 1
        self._used += width
        self._reserved += _unused(level) - before

    def _serve(self) -> None:
        """Admit whoever can be."""
        while self._waiting:
            found = min(self._ready(), key=lambda pair: pair[0].seats / (pair[0].limits.nominal or 1), default=None)
            if found is None:
                return
            level, waiting = found
            assert level.queues is not None
            level.queues.take(waiting)
            self._waiting -= 1
            self._sit(level, waiting.width)
            waiting.is_admitted = True
            if not waiting.admitted.done():
                waiting.admitted.set_result(None)

    def _ready(self) -> list[tuple[Level, Waiting]]:
        ready = []
        for level in self.levels.values():
            head = level.queues.head() if level.waiting and level.queues is not None else None
            if head is not None and self._has_room(level, head.width):
                ready.append((level, head))
        return ready


def _unused(level: Level) -> int:
    """Seats that nobody else may have."""
    return max(0, level.limits.guaranteed - level.seats)
