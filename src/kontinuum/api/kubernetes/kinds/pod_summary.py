"""A pod in one word, as ``kubectl get pods`` shows it: ``Running``, ``Init:0/1`` or ``CrashLoopBackOff``.

The rules are those of kubernetes ``pkg/printers/internalversion`` (``printPod``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kontinuum.api.machinery.conditions import find
from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.clock import parse_rfc3339


@dataclass(slots=True)
class Summary:
    reason: str
    ready: int
    total: int
    restarts: int = 0
    last_restart: float = 0.0
    """Seconds since the epoch; 0 if no container has ended yet."""


def summarize(pod: Object) -> Summary:
    """The pod's phase, overruled by what its containers say, overruled by its deletion."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    conditions = status.get("conditions") or []
    summary = Summary(status.get("reason") or status.get("phase", ""), 0, len(spec.get("containers") or ()))
    if (find(conditions, "PodScheduled") or {}).get("reason") == "SchedulingGated":
        summary.reason = "SchedulingGated"
    sidecars = {one.get("name") for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"}
    summary.total += len(sidecars)
    initializing = _look_at_init_containers(summary, spec, status, sidecars)
    if not initializing or _is_true(conditions, "Initialized"):
        first = [one for one in status.get("initContainerStatuses") or () if one.get("name") in sidecars]
        summary.restarts, summary.last_restart = _restarts(first)
        _look_at_containers(summary, status, conditions)
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            summary.reason = "Unknown"
        elif status.get("phase") not in ("Failed", "Succeeded"):
            summary.reason = "Terminating"
    return summary


def _look_at_init_containers(summary: Summary, spec: Object, status: Object, sidecars: set[Any]) -> bool:
    """True if the pod is still initializing; then ``summary.reason`` says where it stands."""
    statuses = status.get("initContainerStatuses") or []
    for index, one in enumerate(statuses):
        ended, waiting = _state(one, "terminated"), _state(one, "waiting")
        if ended is not None and not ended.get("exitCode"):
            continue
        if one.get("name") in sidecars and one.get("started"):
            summary.ready += bool(one.get("ready"))
            continue
        if ended is not None:
            summary.reason = "Init:" + _ending(ended)
        elif waiting and waiting.get("reason") not in (None, "", "PodInitializing"):
            summary.reason = "Init:" + waiting["reason"]
        else:
            summary.reason = f"Init:{index}/{len(spec.get('initContainers') or ())}"
        summary.restarts, summary.last_restart = _restarts(statuses[: index + 1])
        return True
    return False


def _look_at_containers(summary: Summary, status: Object, conditions: list[Object]) -> None:
    statuses = status.get("containerStatuses") or []
    has_running = False
    for one in reversed(statuses):
        ended, waiting = _state(one, "terminated"), _state(one, "waiting")
        if waiting and waiting.get("reason"):
            summary.reason = waiting["reason"]
        elif ended is not None:
            summary.reason = _ending(ended)
        elif one.get("ready") and _state(one, "running") is not None:
            has_running = True
            summary.ready += 1
    restarts, last = _restarts(statuses)
    summary.restarts += restarts
    summary.last_restart = max(summary.last_restart, last)
    if summary.reason == "Completed" and has_running:
        summary.reason = "Running" if _is_true(conditions, "Ready") else "NotReady"


def _restarts(statuses: Iterable[Object]) -> tuple[int, float]:
    """How often, and when a container last ended before a restart."""
    count, last = 0, 0.0
    for one in statuses:
        count += one.get("restartCount", 0)
        finished = ((one.get("lastState") or {}).get("terminated") or {}).get("finishedAt")
        if finished:
            last = max(last, parse_rfc3339(finished))
    return count, last


def _ending(ended: Object) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _state(status: Object, name: str) -> Object | None:
    found: Object | None = (status.get("state") or {}).get(name)
    return found


def _is_true(conditions: list[Object], kind: str) -> bool:
    return (find(conditions, kind) or {}).get("status") == "True"
