"""The queues of one priority level, served in turn by start-time fair queueing (Goyal, Vin, Cheng, 1996).

Every queue has a tag: the virtual time at which its next request would begin if all queues were served at the same
rate. The lowest tag is served next, and its queue's tag rises by what the request costs: first by a guess, and when it
has ended by what it really took (seats x seconds). A queue that was empty begins at the present.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from kontinuum.apiserver.authz.authorizer import Attributes
from kontinuum.apiserver.fairness.sharding import deal, flow_hash

GUESS_SECONDS = 0.005
"""What a request is taken to need until it has ended."""


@dataclass(slots=True, eq=False)
class Waiting:
    """One request in a queue. ``admitted`` is done when it has been given its seats."""

    asked: Attributes
    schema: str
    distinguisher: str
    width: int
    arrived: float
    admitted: asyncio.Future[None]
    is_admitted: bool = False
    """Also true if nobody waits for ``admitted`` any more."""
    queue: Queue | None = None


@dataclass(slots=True, eq=False)
class Queue:
    index: int
    tag: float = 0.0
    waiting: deque[Waiting] = field(default_factory=deque)
    seats_waiting: int = 0
    executing: int = 0
    seats_used: int = 0

    def settle(self, width: int, seconds: float) -> None:
        """A request that came from this queue has ended after ``seconds``."""
        self.executing -= 1
        self.seats_used -= width
        self.tag += (seconds - GUESS_SECONDS) * width


class Queues:
    """See the module. ``longest`` is how many requests may wait in one queue."""

    def __init__(self, number: int, hand: int, longest: int) -> None:
        self.number, self.hand, self.longest = number, hand, longest
        self._queues: dict[int, Queue] = {}
        self._now = 0.0
        self.length = 0

    def __iter__(self) -> Iterator[Queue]:
        """Those that have ever been used, in their order."""
        return iter(sorted(self._queues.values(), key=lambda queue: queue.index))

    @property
    def virtual_time(self) -> float:
        return self._now

    def put(self, waiting: Waiting) -> bool:
        """False if the queue that the flow is to wait in is full."""
        dealt = deal(flow_hash(waiting.schema, waiting.distinguisher), self.number, self.hand)
        hand = [self._queues.setdefault(index, Queue(index)) for index in dealt]
        queue = min(hand, key=lambda one: (one.seats_waiting, one.seats_used))
        if len(queue.waiting) >= self.longest:
            return False
        if not queue.waiting:
            queue.tag = max(queue.tag, self._now)
        self._append(queue, waiting)
        return True

    def head(self) -> Waiting | None:
        """Who is next."""
        active = [queue for queue in self._queues.values() if queue.waiting]
        return min(active, key=lambda queue: (queue.tag, queue.index)).waiting[0] if active else None

    def take(self, waiting: Waiting) -> None:
        """``head`` begins."""
        queue = self.remove(waiting)
        self._now = max(self._now, queue.tag)
        queue.tag += GUESS_SECONDS * waiting.width
        queue.executing += 1
        queue.seats_used += waiting.width

    def remove(self, waiting: Waiting) -> Queue:
        """Somebody waits no longer."""
        queue = waiting.queue
        assert queue is not None
        queue.waiting.remove(waiting)
        queue.seats_waiting -= waiting.width
        self.length -= 1
        return queue

    def adopt(self, other: Queues) -> None:
        """Everybody who waits in ``other``, whatever the lengths: a level's queues have been redefined."""
        for queue in other:
            for waiting in queue.waiting:
                dealt = deal(flow_hash(waiting.schema, waiting.distinguisher), self.number, self.hand)
                self._append(self._queues.setdefault(dealt[0], Queue(dealt[0])), waiting)

    def _append(self, queue: Queue, waiting: Waiting) -> None:
        waiting.queue = queue
        queue.waiting.append(waiting)
        queue.seats_waiting += waiting.width
        self.length += 1
