"""A priority level as it is now: what it may have, what it uses, who waits."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.fairness.limits import UNLIMITED, Limits, is_exempt
from kontinuum.apiserver.fairness.queues import Queue, Queues

if TYPE_CHECKING:
    from kontinuum.apiserver.fairness.seats import Seats

DEFAULT_QUEUES, DEFAULT_HAND, DEFAULT_LENGTH = 64, 8, 50
WIDEST_PART = 0.15
"""Of a level's seats, what one request may take at most."""
WIDEST = 10


class Level:
    """Counted by ``Seats``, which alone knows whether there is room."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.uid = ""
        self.is_exempt = False
        self.is_defined = True
        """False once its object is gone; it lives on until nobody is in it any more."""
        self.limits: Limits = UNLIMITED
        self.queues: Queues | None = None
        self.can_queue = False
        """False where what does not fit is turned away at once; then only those wait who waited before."""
        self.executing = 0
        """Requests."""
        self.seats = 0
        self.dispatched = 0
        self.rejected: Counter[tuple[str, str]] = Counter()
        """By schema and reason."""

    def define(self, uid: str, spec: Object, limits: Limits) -> None:
        self.uid, self.is_defined, self.is_exempt, self.limits = uid, True, is_exempt(spec), limits
        response = (spec.get("limited") or {}).get("limitResponse") or {}
        queuing = response.get("queuing") or {} if response.get("type") == "Queue" else None
        shape = _shape(queuing) if queuing is not None else None
        self.can_queue = shape is not None
        old = self.queues
        if shape is None or (old is not None and shape == (old.number, old.hand, old.longest)):
            return
        self.queues = Queues(*shape)
        if old is not None:
            self.queues.adopt(old)

    @property
    def waiting(self) -> int:
        return self.queues.length if self.queues is not None else 0

    @property
    def widest(self) -> int:
        """Seats that one request may take."""
        return max(1, min(WIDEST, int(self.limits.nominal * WIDEST_PART)))


class Seat:
    """What a request holds while it is answered: ``width`` seats of its level."""

    __slots__ = ("_seats", "began", "level", "queue", "width")

    def __init__(
        self, seats: Seats, level: Level, width: int, *, began: float = 0.0, queue: Queue | None = None
    ) -> None:
        self._seats: Seats | None = seats
        self.level = level
        self.width = width
        self.began = began
        self.queue = queue

    def leave(self) -> None:
        """Give it back; more than once does no harm."""
        seats = self._seats
        if seats is not None:
            self._seats = None
            seats.leave(self)


def _shape(queuing: Object) -> tuple[int, int, int]:
    return (
        queuing.get("queues") or DEFAULT_QUEUES,
        queuing.get("handSize") or DEFAULT_HAND,
        queuing.get("queueLengthLimit") or DEFAULT_LENGTH,
    )
