"""Whether the node is under pressure, and which threshold is to be answered now. Pure.

    available < least ──▶ met ──(at once: the condition)──▶ grace passed ──▶ reclaim, one pod at a time
                           ▲                                                         │
                           └── still met until ``least`` and ``reclaim`` are there ◀─┘
A condition outlives its cause by the transition period, so that a node that swings does not invite pods to their end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kontinuum.node.eviction.thresholds import CONDITIONS, Threshold


@dataclass(frozen=True, slots=True)
class Observation:
    """How much of a signal is there, and how much there is in all: bytes, inodes or process numbers."""

    available: int
    capacity: int


@dataclass(frozen=True, slots=True)
class State:
    """What is carried from one look to the next. Times are in seconds since any one moment."""

    met_since: Mapping[Threshold, float] = field(default_factory=dict)
    pressed_at: Mapping[str, float] = field(default_factory=dict)
    """When each condition last had a cause."""


@dataclass(frozen=True, slots=True)
class Decision:
    state: State
    pressures: frozenset[str]
    """The conditions that the node has now."""
    due: tuple[Threshold, ...]
    """The thresholds to be answered, the most urgent first."""


def decide(
    thresholds: Sequence[Threshold],
    observations: Mapping[str, Observation],
    state: State,
    now: float,
    *,
    transition_period: float,
) -> Decision:
    """One look. A signal that cannot be observed keeps what was known of it."""
    met = [one for one in thresholds if _is_met(one, observations, was_met=one in state.met_since)]
    since = {one: state.met_since.get(one, now) for one in met}
    pressed = {**state.pressed_at, **{CONDITIONS[one.signal]: now for one in met}}
    pressures = {kind for kind, at in pressed.items() if at == now or now - at < transition_period}
    due = tuple(one for one in met if now - since[one] >= one.grace)
    return Decision(State(since, pressed), frozenset(pressures), due)


def _is_met(threshold: Threshold, observations: Mapping[str, Observation], *, was_met: bool) -> bool:
    observed = observations.get(threshold.signal)
    if observed is None:
        return was_met
    least = threshold.least.of(observed.capacity)
    if was_met:
        least += threshold.reclaim.of(observed.capacity)
    return observed.available < least
