"""Classification and admission of requests; what the handler asks.

Nearly every request finds a free seat: it costs a look into a dictionary, some additions, and no waiting. Flow schemas
and priority levels are read from the caches, and again after one of them has changed.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import orjson

from kontinuum.api.kubernetes import flowcontrol as tables
from kontinuum.api.machinery import status
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.authz.authorizer import Attributes
from kontinuum.apiserver.fairness.level import Level, Seat
from kontinuum.apiserver.fairness.matching import Distinguish, distinguisher, matches, precedence
from kontinuum.apiserver.fairness.queues import Waiting
from kontinuum.apiserver.fairness.seats import Seats
from kontinuum.apiserver.selection import Selection
from kontinuum.apiserver.watchcache import WatchCache
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.telemetry import Tally

MOST_KNOWN = 8192
"""Kinds of requests whose flow is remembered."""
RETRY_SECONDS = 1
WAIT_BUCKETS = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0)
"""Seconds, as Kubernetes counts them."""
CONCURRENCY, QUEUE_FULL, TIME_OUT, CANCELLED = "concurrency-limit", "queue-full", "time-out", "cancelled"


class Flow:
    """Requests that one schema speaks of. ``uids`` are the schema's and its level's."""

    __slots__ = ("dispatched", "distinguish", "level", "schema", "uids")

    def __init__(self, schema: Object, level: Level) -> None:
        self.schema = name_of(schema)
        self.level = level
        self.distinguish: Distinguish = distinguisher(schema)
        self.uids = (schema["metadata"].get("uid", ""), level.uid)
        self.dispatched = 0


class Fairness:
    """``seats`` are for everybody together; nobody waits longer than ``wait_seconds`` for one."""

    def __init__(
        self, levels: WatchCache, schemas: WatchCache, clock: Clock, *, seats: int, wait_seconds: float
    ) -> None:
        self._levels, self._schemas = levels, schemas
        self._changed = (levels.follow(), schemas.follow())
        self._clock = clock
        self._wait_seconds = wait_seconds
        self._compiled: list[tuple[Object, Flow]] = []
        self._known: dict[tuple[object, ...], Flow] = {}
        self.seats = Seats(seats, clock)
        self.waits: dict[tuple[str, str, str], Tally] = {}
        """Seconds in a queue, by level, schema, and whether the request was answered in the end ("true", "false")."""
        self.dispatched: Counter[tuple[str, str]] = Counter()
        """Requests by level and schema, of flows that have been replaced since."""
        self._read()

    @property
    def flows(self) -> list[Flow]:
        """In the order of their precedence."""
        self._refresh()
        return [flow for _, flow in self._compiled]

    def now(self) -> tuple[float, float]:
        """The clock by which waiting is measured, and seconds since the epoch."""
        return self._clock.monotonic(), self._clock.time()

    def flow_of(self, asked: Attributes) -> Flow:
        self._refresh()
        user = asked.user
        key = (
            user.name, user.groups, asked.verb, asked.group, asked.resource, asked.subresource, asked.namespace,
            asked.path,
        )  # fmt: skip
        flow = self._known.get(key)
        if flow is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            flow = self._known[key] = self._classify(asked)
        return flow

    def try_enter(self, flow: Flow, width: int) -> Seat | None:
        """A seat, if there is a free one that nobody waits for."""
        seat = self.seats.enter(flow.level, width)
        if seat is not None:
            flow.dispatched += 1
        return seat

    async def enter(self, flow: Flow, asked: Attributes, width: int) -> Seat:
        """As ``try_enter``, and if there is none wait for one. Raises ApiError 429."""
        level = flow.level
        loop = asyncio.get_running_loop()
        waiting = Waiting(
            asked, flow.schema, flow.distinguish(asked), width, self._clock.monotonic(), loop.create_future()
        )
        if not self.seats.wait(level, waiting):
            raise self._turned_away(flow, QUEUE_FULL if level.can_queue else CONCURRENCY)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await waiting.admitted
        except BaseException as error:
            if waiting.is_admitted:
                # Both at once: what was won must not be lost.
                self.seats.seat_of(level, waiting).leave()
            else:
                self.seats.give_up(level, waiting)
            self._waited(flow, waiting, "false")
            late = isinstance(error, TimeoutError)
            refusal = self._turned_away(flow, TIME_OUT if late else CANCELLED)
            if late:
                raise refusal from None
            raise
        flow.dispatched += 1
        self._waited(flow, waiting, "true")
        return self.seats.seat_of(level, waiting)

    def _waited(self, flow: Flow, waiting: Waiting, executed: str) -> None:
        tally = self.waits.setdefault((flow.level.name, flow.schema, executed), Tally(WAIT_BUCKETS))
        tally.observe(self._clock.monotonic() - waiting.arrived)

    def _turned_away(self, flow: Flow, reason: str) -> ApiError:
        flow.level.rejected[flow.schema, reason] += 1
        return status.too_many_requests("Too many requests, please try again later.", RETRY_SECONDS)

    def _classify(self, asked: Attributes) -> Flow:
        for schema, flow in self._compiled:
            if matches(schema, asked):
                return flow
        # Whoever is in neither of the two groups that everybody is in.
        return self._compiled[-1][1]

    def _refresh(self) -> None:
        levels, schemas = self._changed
        if levels or schemas:
            levels.clear()
            schemas.clear()
            self._read()

    def _read(self) -> None:
        levels = _objects(self._levels, tables.MANDATORY_LEVELS)
        self.seats.define(levels)
        for _, flow in self._compiled:
            self.dispatched[flow.level.name, flow.schema] += flow.dispatched
        self._known.clear()
        # A schema whose level is not there is as good as absent (its condition says "Dangling").
        self._compiled = [
            (schema, Flow(schema, self.seats.levels[level]))
            for schema in sorted(_objects(self._schemas, tables.MANDATORY_SCHEMAS).values(), key=precedence)
            if (level := schema["spec"]["priorityLevelConfiguration"]["name"]) in levels
        ]


def _objects(cache: WatchCache, mandatory: dict[str, Object]) -> dict[str, Object]:
    """What is stored, and what every server has even before that is read."""
    objects: dict[str, Object] = {name: {"metadata": {"name": name}, "spec": spec} for name, spec in mandatory.items()}
    for entry in cache.select(Selection()):
        objects[entry.name] = orjson.loads(entry.value)
    return objects
