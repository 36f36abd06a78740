"""What nodes have told of themselves, and the rates between two tellings. Pure.

CPU is told as time that has been used up to a moment; a rate needs two moments of the same life of a container.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from kontinuum.foundation.clock import parse_rfc3339
from kontinuum.foundation.errors import Refused

OLDEST_SECONDS = 90.0
"""What was told longer ago says nothing about now."""


class BadSummary(Refused):
    """A node's summary cannot be read."""


class Reading(NamedTuple):
    """``time`` in seconds since the epoch, ``cpu`` in nanoseconds since ``started``, ``memory`` in bytes."""

    time: float
    cpu: int
    memory: int
    started: str = ""


class Usage(NamedTuple):
    """CPU in nanocores, memory in bytes, over ``window`` seconds that ended at ``time``."""

    time: float
    window: float
    cpu: int
    memory: int


@dataclass(frozen=True, slots=True)
class Telling:
    """One summary. Containers by the pod's uid and their name."""

    node: Reading
    containers: dict[str, dict[str, Reading]] = field(default_factory=dict)


class _Cpu(msgspec.Struct, rename="camel"):
    time: str
    usage_core_nano_seconds: int | None = None


class _Memory(msgspec.Struct, rename="camel"):
    working_set_bytes: int | None = None


class _Container(msgspec.Struct, rename="camel"):
    name: str = ""
    start_time: str | None = None
    cpu: _Cpu | None = None
    memory: _Memory | None = None


class _Reference(msgspec.Struct):
    uid: str


class _Pod(msgspec.Struct, rename="camel"):
    pod_ref: _Reference
    containers: list[_Container] | None = None


class _Summary(msgspec.Struct):
    node: _Container
    pods: list[_Pod] | None = None


_decode: Any = msgspec.json.Decoder(_Summary).decode


def read_summary(content: bytes) -> Telling:
    """The kubelet's or our own node's ``/stats/summary``. Raises BadSummary."""
    try:
        found = _decode(content)
        node = _reading(found.node)
        containers = {
            pod.pod_ref.uid: {one.name: made for one in pod.containers or () if (made := _reading(one)) is not None}
            for pod in found.pods or ()
        }
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadSummary(f"the summary cannot be read: {error}") from error
    if node is None:
        raise BadSummary("the summary says nothing of the node")
    return Telling(node, containers)


def _reading(told: _Container) -> Reading | None:
    """None for what has no numbers yet."""
    cpu, memory = told.cpu, told.memory
    if cpu is None or memory is None or cpu.usage_core_nano_seconds is None or memory.working_set_bytes is None:
        return None
    moment = parse_rfc3339(cpu.time)
    return Reading(moment, cpu.usage_core_nano_seconds, memory.working_set_bytes, told.start_time or "")


def usage_between(before: Reading | None, after: Reading | None) -> Usage | None:
    """None if the two are not of one life, or of one moment."""
    if before is None or after is None or before.started != after.started:
        return None
    window, spent = after.time - before.time, after.cpu - before.cpu
    if window <= 0 or spent < 0:
        return None
    return Usage(after.time, window, round(spent / window), after.memory)


class Samples:
    """The last two tellings of each node."""

    def __init__(self) -> None:
        self._tellings: dict[str, tuple[Telling | None, Telling]] = {}
        self._nodes_of: dict[str, str] = {}

    def add(self, node: str, telling: Telling) -> None:
        """A telling that is no newer than the one before changes nothing: nobody has counted since."""
        known = self._tellings.get(node)
        if known is not None and telling.node.time <= known[1].node.time:
            return
        self._tellings[node] = (known[1] if known is not None else None, telling)
        for uid in telling.containers:
            self._nodes_of[uid] = node

    def keep(self, nodes: Iterable[str]) -> None:
        """Forget all other nodes, and pods that no node tells of any more."""
        kept = set(nodes)
        self._tellings = {name: one for name, one in self._tellings.items() if name in kept}
        self._nodes_of = {
            uid: node for uid, node in self._nodes_of.items()
            if node in self._tellings and uid in self._tellings[node][1].containers
        }  # fmt: skip

    @property
    def is_waiting(self) -> bool:
        """A node has told only once, so that there is no rate yet."""
        return any(before is None for before, _ in self._tellings.values())

    def of_node(self, node: str, *, now: float) -> Usage | None:
        before, after = self._tellings.get(node, (None, None))
        if before is None or after is None or now - after.node.time > OLDEST_SECONDS:
            return None
        return usage_between(before.node, after.node)

    def of_pod(self, uid: str, *, now: float) -> dict[str, Usage] | None:
        """By container. None unless every running container has a rate: half a pod is no answer."""
        before, after = self._tellings.get(self._nodes_of.get(uid, ""), (None, None))
        if before is None or after is None:
            return None
        earlier, later = before.containers.get(uid) or {}, after.containers.get(uid) or {}
        found = {name: usage_between(earlier.get(name), reading) for name, reading in later.items()}
        known = {name: one for name, one in found.items() if one is not None and now - one.time <= OLDEST_SECONDS}
        return known if known and len(known) == len(found) else None
