"""How far and how fast a target may be scaled: bounds, policies and stabilisation. Pure.

The rules, reasons and messages are those of KEP-853 (configurable scale velocity) and of
``pkg/controller/podautoscaler/horizontal.go``. Times are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object
from kontinuum.controllers.lib.scaling_ratio import Tolerance

UP: Object = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}  # fmt: skip
DOWN: Object = {
    "stabilizationWindowSeconds": 300,
    "selectPolicy": "Max",
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}
"""What is not said about a direction (autoscaling/v2's defaults)."""
AT_ONCE, AT_LEAST = 2, 4
"""Without ``behavior``: at most twice as many at once, but four are always allowed."""
LONGEST = 3600.0
"""No window and no period is longer."""

Reason = tuple[str, str]
"""A condition's reason and message."""
READY: Reason = ("ReadyForNewScale", "recommended size matches current size")
HELD_UP: Reason = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
)
HELD_DOWN: Reason = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
)
WITHIN: Reason = ("DesiredWithinRange", "the desired count is within the acceptable range")
TOO_MANY: Reason = ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
TOO_FEW: Reason = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")
TOO_FAST_UP: Reason = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
TOO_FAST_DOWN: Reason = (
    "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Policy:
    """One limit of speed: ``value`` pods, or per cent of the pods, within ``period``."""

    is_percent: bool
    value: int
    period: float


@dataclass(frozen=True, slots=True)
class Rules:
    """One direction's. ``select`` is Max, Min or Disabled."""

    window: float
    select: str
    policies: tuple[Policy, ...]


@dataclass(frozen=True, slots=True)
class Behavior:
    """Both directions'."""

    up: Rules
    down: Rules


@dataclass(slots=True)
class History:
    """What was recommended for one target, and by how much it was scaled; lost when the controller ends."""

    recommendations: list[tuple[float, int]] = field(default_factory=list)
    changes: list[tuple[float, int]] = field(default_factory=list)

    def recommend(self, now: float, replicas: int) -> None:
        self.recommendations = [one for one in self.recommendations if one[0] > now - LONGEST] + [(now, replicas)]

    def scale(self, now: float, change: int) -> None:
        self.changes = [one for one in self.changes if one[0] > now - LONGEST] + [(now, change)]


@dataclass(frozen=True, slots=True)
class Verdict:
    """``able`` and ``limited`` are what the conditions AbleToScale and ScalingLimited say."""

    replicas: int
    able: Reason
    limited: Reason
    is_limited: bool


def behavior_of(autoscaler: Object, down_window: float) -> Behavior | None:
    """None if the user says nothing. ``down_window`` is the cluster's own stabilisation window downwards."""
    behavior = autoscaler["spec"].get("behavior")
    if behavior is None:
        return None
    down = {**DOWN, "stabilizationWindowSeconds": down_window}
    return Behavior(_rules(behavior.get("scaleUp"), UP), _rules(behavior.get("scaleDown"), down))


def tolerance_of(autoscaler: Object, everybody: float) -> Tolerance:
    """``everybody`` is the cluster's own (KEP-4951)."""
    behavior = autoscaler["spec"].get("behavior") or {}
    found = ((behavior.get(one) or {}).get("tolerance") for one in ("scaleDown", "scaleUp"))
    return Tolerance(*(everybody if one is None else float(quantity.parse(one)) for one in found))


def limit(
    wanted: int, current: int, bounds: tuple[int, int], behavior: Behavior | None, history: History, now: float,
    *, down_window: float,
) -> Verdict:  # fmt: skip
    """What becomes of ``wanted``. ``bounds`` are the least and the most replicas."""
    if behavior is None:
        lowered = [replicas for at, replicas in history.recommendations if at >= now - down_window]
        stable = max([wanted, *lowered])
        replicas, limited = _bounded(stable, current, bounds)
        return Verdict(replicas, READY if stable == wanted else HELD_DOWN, limited, replicas != stable)
    stable = _stabilized(wanted, current, behavior, history, now)
    held = HELD_UP if wanted >= current else HELD_DOWN
    replicas, limited = _slowed(stable, current, bounds, behavior, history, now)
    return Verdict(replicas, READY if stable == wanted else held, limited, replicas != stable)


def _bounded(stable: int, current: int, bounds: tuple[int, int]) -> tuple[int, Reason]:
    fastest = max(AT_ONCE * current, AT_LEAST)
    most, reason = (fastest, TOO_FAST_UP) if bounds[1] > fastest else (bounds[1], TOO_MANY)
    if stable < bounds[0]:
        return bounds[0], TOO_FEW
    return (most, reason) if stable > most else (stable, WITHIN)


def _stabilized(wanted: int, current: int, behavior: Behavior, history: History, now: float) -> int:
    """``current``, brought between the lowest and the highest that was recommended in the two windows."""
    low = min([wanted, *(n for at, n in history.recommendations if at > now - behavior.up.window)])
    high = max([wanted, *(n for at, n in history.recommendations if at > now - behavior.down.window)])
    return min(max(current, low), high)


def _slowed(
    stable: int, current: int, bounds: tuple[int, int], behavior: Behavior, history: History, now: float
) -> tuple[int, Reason]:  # fmt: skip
    if stable > current:
        fastest = max(current, _highest(current, behavior.up, history, now))
        most, reason = (fastest, TOO_FAST_UP) if bounds[1] > fastest else (bounds[1], TOO_MANY)
        return (most, reason) if stable > most else (stable, WITHIN)
    if stable < current:
        fastest = min(current, _lowest(current, behavior.down, history, now))
        least, reason = (fastest, TOO_FAST_DOWN) if bounds[0] < fastest else (bounds[0], TOO_FEW)
        return (least, reason) if stable < least else (stable, WITHIN)
    return stable, WITHIN


def _highest(current: int, rules: Rules, history: History, now: float) -> int:
    """The most that the policies allow."""
    if rules.select == "Disabled":
        return current
    allowed = [
        # Rounded up, or one pod could never become two by less than 100 %.
        math.ceil(start * (1 + policy.value / 100)) if policy.is_percent else start + policy.value
        for policy, start in _starts(current, rules.policies, history, now)
    ]
    return min(allowed) if rules.select == "Min" else max(allowed)


def _lowest(current: int, rules: Rules, history: History, now: float) -> int:
    """The fewest that the policies allow."""
    if rules.select == "Disabled":
        return current
    allowed = [
        int(start * (1 - policy.value / 100)) if policy.is_percent else start - policy.value
        for policy, start in _starts(current, rules.policies, history, now)
    ]
    return max(allowed) if rules.select == "Min" else min(allowed)


def _starts(
    current: int, policies: Iterable[Policy], history: History, now: float
) -> Iterable[tuple[Policy, int]]:  # fmt: skip
    """How many replicas there were when each policy's period began."""
    for policy in policies:
        yield policy, current - sum(change for at, change in history.changes if at > now - policy.period)


def _rules(said: Mapping[str, object] | None, default: Object) -> Rules:
    rules = {**default, **{key: value for key, value in (said or {}).items() if value is not None}}
    policies = tuple(
        Policy(one["type"] == "Percent", one["value"], one["periodSeconds"])
        for one in rules["policies"] or default["policies"]
    )
    return Rules(rules["stabilizationWindowSeconds"], rules["selectPolicy"], policies)
