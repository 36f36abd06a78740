"""Containers that the API remembers and the runtime does not: a reboot, or a runtime that was wiped. Pure.

They are shown as ended (exit code 137, ContainerStatusUnknown) and restarted by their policy under the next number, as
with the kubelet; a job that must not run twice does not run twice.
"""

from __future__ import annotations

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.clock import parse_rfc3339
from kontinuum.node.observed import Container, ContainerState, Observed


def with_lost(pod: Object, observed: Observed) -> Observed:
    """``observed`` and, for each container of which nothing is left, what the pod's last status says of it."""
    status: Object = pod.get("status") or {}
    known = {container.name for container in observed.containers}
    lost = [
        _lost(one)
        for field in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
        for one in status.get(field) or ()
        if one.get("containerID") and one["name"] not in known and _has_run(one)
    ]
    return Observed.of(observed.sandboxes, (*observed.containers, *lost)) if lost else observed


def _has_run(status: Object) -> bool:
    """A container that was made and never started has nothing to be remembered by."""
    state, last = status.get("state") or {}, status.get("lastState") or {}
    return "running" in state or "terminated" in state or "terminated" in last


def _lost(status: Object) -> Container:
    state = status.get("state") or {}
    ended = state.get("terminated") or {}
    if "waiting" in state:
        ended = (status.get("lastState") or {}).get("terminated") or {}
    began = ended.get("startedAt") or (state.get("running") or {}).get("startedAt")
    return Container(
        id=status["containerID"].removeprefix("containerd://"),
        sandbox_id="",
        name=status["name"],
        attempt=int(status.get("restartCount") or 0),
        state=ContainerState.EXITED if ended else ContainerState.UNKNOWN,
        started_at=parse_rfc3339(began) if began else 0.0,
        finished_at=parse_rfc3339(ended["finishedAt"]) if ended.get("finishedAt") else 0.0,
        exit_code=ended.get("exitCode", 137),
        reason=ended.get("reason", ""),
        message=ended.get("message", ""),
        image=status.get("image", ""),
        image_id=status.get("imageID", ""),
    )
