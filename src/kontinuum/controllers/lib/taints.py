"""Taints that follow from a node's conditions, and how long a pod tolerates them (KEP-166, ``tainteviction``)."""

from __future__ import annotations

from collections.abc import Sequence

from kontinuum.api.kubernetes.tolerations import tolerates
from kontinuum.api.machinery.conditions import get_condition
from kontinuum.api.machinery.objects import Object

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
DEFAULT_TOLERATION_SECONDS = 300
"""For the two taints of absence, when a pod says nothing of them: what the DefaultTolerationSeconds plug-in adds."""

_PRESSURES = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_OURS = {NOT_READY, UNREACHABLE, UNSCHEDULABLE, *_PRESSURES.values()}


def taints_for(node: Object, *, evict: bool, now: str) -> list[Object]:
    """The taints that ``node`` should have: others' as they are, ours by its conditions, as old as they were.

    Without ``evict`` the taint that drives pods away is left out: nothing new is sent there, but nothing is lost.
    """
    old: list[Object] = (node.get("spec") or {}).get("taints") or []
    kept = [taint for taint in old if taint["key"] not in _OURS]
    return kept + [_as_old_as(old, key, effect, now) for key, effect in _wanted(node, evict)]


def _wanted(node: Object, evict: bool) -> list[tuple[str, str]]:
    ready = get_condition(node, "Ready")
    wanted: list[tuple[str, str]] = []
    absence = {"False": NOT_READY, "Unknown": UNREACHABLE}.get(ready["status"] if ready else "False")
    if absence:
        wanted.append((absence, "NoSchedule"))
        if evict:
            wanted.append((absence, "NoExecute"))
    if (node.get("spec") or {}).get("unschedulable"):
        wanted.append((UNSCHEDULABLE, "NoSchedule"))
    for kind, key in _PRESSURES.items():
        condition = get_condition(node, kind)
        if condition is not None and condition["status"] == "True":
            wanted.append((key, "NoSchedule"))
    return wanted


def _as_old_as(old: Sequence[Object], key: str, effect: str, now: str) -> Object:
    same = next((taint for taint in old if (taint["key"], taint["effect"]) == (key, effect)), None)
    return same or {"key": key, "effect": effect, "timeAdded": now}


def seconds_tolerated(pod: Object, taint: Object) -> float | None:
    """How long the pod may stay beside a NoExecute taint; None: for ever."""
    seconds: list[float] = []
    for toleration in (pod.get("spec") or {}).get("tolerations") or ():
        if tolerates(toleration, taint):
            if toleration.get("tolerationSeconds") is None:
                return None
            seconds.append(max(0.0, toleration["tolerationSeconds"]))
    if seconds:
        return min(seconds)
    return DEFAULT_TOLERATION_SECONDS if taint["key"] in (NOT_READY, UNREACHABLE) else 0.0
