"""Readings of a pod that several controllers share, and the order in which surplus pods are deleted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from kontinuum.api.machinery.conditions import get_condition, is_true
from kontinuum.api.machinery.objects import Object, annotations_of, labels_of
from kontinuum.foundation.clock import parse_rfc3339

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def phase_of(pod: Object) -> str:
    phase: str = (pod.get("status") or {}).get("phase") or "Pending"
    return phase


def is_finished(pod: Object) -> bool:
    """Succeeded or Failed: its containers will never run again."""
    return phase_of(pod) in ("Succeeded", "Failed")


def is_leaving(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def is_active(pod: Object) -> bool:
    """Counts as one of a workload's replicas."""
    return not is_finished(pod) and not is_leaving(pod)


def node_of(pod: Object) -> str:
    node: str = (pod.get("spec") or {}).get("nodeName") or ""
    return node


def is_ready(pod: Object) -> bool:
    return is_true(pod, "Ready")


def is_terminating(pod: Object) -> bool:
    """Is no replica any more, and has not ended yet."""
    return is_leaving(pod) and not is_finished(pod)


class Standing(NamedTuple):
    """What a pod counts for among the replicas of its workload."""

    labels: tuple[tuple[str, str], ...]
    """Sorted."""
    is_active: bool
    is_terminating: bool
    ready_since: float | None
    """When it became ready, in seconds since the epoch; None if it is not."""

    def seconds_until_available(self, min_ready_seconds: float, now: float) -> float | None:
        """0 if it has been ready for ``min_ready_seconds``, else the seconds left; None if it is not ready."""
        return _seconds_until_available(self.ready_since, min_ready_seconds, now)


def standing_of(pod: Object) -> Standing:
    labels = _one_of_all(tuple(sorted(labels_of(pod).items())))
    return Standing(labels, is_active(pod), is_terminating(pod), ready_since(pod))


@lru_cache(maxsize=4096)
def _one_of_all(labels: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Hundreds of pods have the same."""
    return labels


def ready_since(pod: Object) -> float | None:
    """When the pod became ready, in seconds since the epoch; None if it is not."""
    condition = get_condition(pod, "Ready")
    if condition is None or condition["status"] != "True":
        return None
    return parse_rfc3339(condition["lastTransitionTime"]) if condition.get("lastTransitionTime") else 0.0


def seconds_until_available(pod: Object, min_ready_seconds: float, now: float) -> float | None:
    """As ``Standing.seconds_until_available``."""
    return _seconds_until_available(ready_since(pod), min_ready_seconds, now)


def _seconds_until_available(since: float | None, min_ready_seconds: float, now: float) -> float | None:
    if since is None:
        return None
    return max(0.0, since + min_ready_seconds - now) if min_ready_seconds else 0.0


def deletion_order(surplus: Sequence[Object], related: Sequence[Object], now: float) -> list[Object]:
    """``surplus``'s pods, the first to be deleted first.

    Kubernetes' ``ActivePodsWithRanks``: without a node before with one; pending, unknown, running; not ready before
    ready; cheap before dear; crowded nodes (by ``related``, the active pods of all sibling ReplicaSets) before others;
    ready for a short time before long; many restarts before few; young before old.
    """
    crowd = Counter(node_of(pod) for pod in related if node_of(pod))

    def rank(pod: Object) -> tuple[float | str, ...]:
        since = ready_since(pod)
        return (
            bool(node_of(pod)),
            _PHASES.get(phase_of(pod), 3),
            since is not None,
            _deletion_cost(pod),
            -crowd[node_of(pod)],
            now - since if since is not None else 0.0,
            -_restarts(pod),
            now - parse_rfc3339(pod["metadata"]["creationTimestamp"]),
            pod["metadata"]["name"],
        )

    return sorted(surplus, key=rank)


def _deletion_cost(pod: Object) -> int:
    text = annotations_of(pod).get(DELETION_COST, "0")
    try:
        return int(text)
    except ValueError:
        # Kubernetes reads what it cannot understand as no wish at all.
        return 0


def _restarts(pod: Object) -> int:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return max((status.get("restartCount", 0) for status in statuses), default=0)
