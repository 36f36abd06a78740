"""How many replicas one metric asks for, from what its pods use now. Pure.

    replicas = ceil(counted pods × what they use / what they should use)

unless the ratio lies within the tolerance. The rules about pods that are not ready or of which nothing was measured,
and the messages, are those of "Algorithm details" in Kubernetes' documentation of horizontal pod autoscaling and of
``pkg/controller/podautoscaler/replica_calculator.go``. Amounts are thousandths (millicores, thousandths of a byte).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.conditions import get_condition
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.controllers.lib.pods import is_leaving, is_ready, phase_of
from kontinuum.foundation.clock import parse_rfc3339
from kontinuum.foundation.errors import Refused

CPU = "cpu"


class Unknown(Refused):
    """No number of replicas follows. The message is Kubernetes'."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one pod used over ``window`` seconds until ``at``."""

    value: int
    at: float = 0.0
    window: float = 60.0


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far the ratio may be below and above 1 without consequence."""

    down: float = 0.1
    up: float = 0.1

    def covers(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of the target when a metric is read."""

    wanted: int
    """Replicas that its spec says."""
    present: int
    """Replicas that its status says."""
    pods: Sequence[Object]
    now: float
    tolerance: Tolerance = field(default_factory=Tolerance)
    initialization_seconds: float = 300.0
    """For so long after its start a pod's CPU counts only while it is ready."""
    readiness_delay_seconds: float = 30.0
    """A pod that became unready within this time after its start has never been ready."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """``value`` is the average over pods, or the metric itself where the target is a plain value."""

    replicas: int
    value: int
    utilization: int | None = None
    """Per cent of what was requested."""


@dataclass(frozen=True, slots=True)
class _Groups:
    ready: int
    unready: frozenset[str]
    missing: frozenset[str]


def by_utilization(
    situation: Situation, samples: Mapping[str, Sample], percent: int, *, resource: str, container: str = ""
) -> Proposal:
    """Against a share of what the pods (or their ``container``) request of ``resource``. Raises Unknown."""
    groups, values = _grouped(situation, samples, resource)
    requests = {name_of(pod): _requested(pod, resource, container) for pod in situation.pods}
    if not values:
        raise Unknown("did not receive metrics for any ready pods")

    def used(values: Mapping[str, int]) -> int:
        """Per cent, cut off as Kubernetes does."""
        total = sum(requests[name] for name in values if name in requests)
        if total == 0:
            raise Unknown("no metrics returned matched known pods")
        return sum(value for name, value in values.items() if name in requests) * 100 // total

    # A pod of which nothing is known uses all that it asks for, or what it should if that is even more.
    full = max(100, percent)
    replicas = _replicas(
        situation, groups, values, lambda values: used(values) / percent, lambda name: requests[name] * full // 100
    )  # fmt: skip
    known = [value for name, value in values.items() if name in requests]
    return Proposal(replicas, sum(known) // len(known), used(values))


def by_average(situation: Situation, samples: Mapping[str, Sample], target: int, *, resource: str = "") -> Proposal:
    """Against an amount per pod. ``resource`` is "" for a metric that is no resource. Raises Unknown."""
    groups, values = _grouped(situation, samples, resource)
    if not values:
        raise Unknown("did not receive metrics for any ready pods")

    def average(values: Mapping[str, int]) -> int:
        return sum(values.values()) // len(values)

    replicas = _replicas(
        situation, groups, values, lambda values: average(values) / target, lambda name: target
    )  # fmt: skip
    return Proposal(replicas, average(values))


def by_value(situation: Situation, value: int, target: int) -> Proposal:
    """Against an amount of something that all pods bring about together. Raises Unknown."""
    ratio = value / target
    if situation.wanted == 0:
        return Proposal(math.ceil(ratio), value)
    if situation.tolerance.covers(ratio):
        return Proposal(situation.wanted, value)
    if not situation.pods:
        raise Unknown("unable to calculate ready pods: no pods returned by selector while calculating replica count")
    ready = sum(phase_of(pod) == "Running" and is_ready(pod) for pod in situation.pods)
    return Proposal(math.ceil(ratio * ready), value)


def by_share(situation: Situation, value: int, target: int) -> Proposal:
    """Against an amount per replica of something that is measured as a whole."""
    present = situation.present
    if present and situation.tolerance.covers(value / (target * present)):
        return Proposal(present, math.ceil(value / present))
    return Proposal(math.ceil(value / target), math.ceil(value / present) if present else 0)


def _replicas(
    situation: Situation,
    groups: _Groups,
    values: Mapping[str, int],
    ratio_of: Callable[[Mapping[str, int]], float],
    full: Callable[[str], int],
) -> int:
    ratio = ratio_of(values)
    counts_unready = bool(groups.unready) and ratio > 1.0
    if not counts_unready and not groups.missing:
        return situation.wanted if situation.tolerance.covers(ratio) else math.ceil(ratio * groups.ready)
    # What is not known is assumed to be against the change, so that the change is dampened.
    assumed = dict(values)
    if ratio < 1.0:
        assumed |= {name: full(name) for name in groups.missing}
    elif ratio > 1.0:
        assumed |= dict.fromkeys(groups.missing | groups.unready, 0)
    again = ratio_of(assumed)
    if situation.tolerance.covers(again) or (ratio < 1.0) != (again < 1.0):
        return situation.wanted
    replicas = math.ceil(again * len(assumed))
    turns = replicas > situation.wanted if again < 1.0 else replicas < situation.wanted
    return situation.wanted if turns else replicas


def _grouped(
    situation: Situation, samples: Mapping[str, Sample], resource: str
) -> tuple[_Groups, dict[str, int]]:  # fmt: skip
    """The pods by what is known of them, and the values that count. Raises Unknown."""
    if not situation.pods:
        raise Unknown("no pods returned by selector while calculating replica count")
    ready, unready, missing, ignored = 0, set(), set(), set()
    for pod in situation.pods:
        name = name_of(pod)
        sample = samples.get(name)
        if is_leaving(pod) or phase_of(pod) == "Failed":
            ignored.add(name)
        elif phase_of(pod) == "Pending":
            unready.add(name)
        elif sample is None:
            missing.add(name)
        elif resource == CPU and not _is_settled(pod, sample, situation):
            unready.add(name)
        else:
            ready += 1
    values = {name: one.value for name, one in samples.items() if name not in unready and name not in ignored}
    return _Groups(ready, frozenset(unready), frozenset(missing)), values


def _is_settled(pod: Object, sample: Sample, situation: Situation) -> bool:
    """Its CPU is what it uses for its work, not for starting."""
    condition, started = get_condition(pod, "Ready"), (pod.get("status") or {}).get("startTime")
    if condition is None or not started:
        return False
    start = parse_rfc3339(started)
    moment = parse_rfc3339(condition["lastTransitionTime"]) if condition.get("lastTransitionTime") else 0.0
    is_unready = condition["status"] == "False"
    if start + situation.initialization_seconds > situation.now:
        return not is_unready and sample.at >= moment + sample.window
    return not (is_unready and start + situation.readiness_delay_seconds > moment)


def _requested(pod: Object, resource: str, container: str) -> int:
    """What the pod, or one container of it, requests. Raises Unknown."""
    spec = pod.get("spec") or {}
    whole = ((spec.get("resources") or {}).get("requests") or {}).get(resource)
    if not container and whole is not None:
        return quantity.milli(whole)
    sidecars = [one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"]
    total = 0
    for one in (*(spec.get("containers") or ()), *sidecars):
        if container and one["name"] != container:
            continue
        request = ((one.get("resources") or {}).get("requests") or {}).get(resource)
        if request is None:
            raise Unknown(f"missing request for {resource} in container {one['name']} of Pod {name_of(pod)}")
        total += quantity.milli(request)
    return total
