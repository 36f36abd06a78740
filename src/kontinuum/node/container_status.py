"""What ``kubectl get pods`` shows of one container: waiting, running or terminated, and why. Pure."""

from __future__ import annotations

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.clock import rfc3339
from kontinuum.node import pods, resize, restarts
from kontinuum.node.observed import Container, ContainerState, Observed, User
from kontinuum.node.plan import is_started
from kontinuum.node.remembered import FRESH_SECONDS, Remembered, Trouble

START_ERROR = "StartError"
"""containerd's reason for a container whose process could not be started (its exit code is 128 then)."""
LOST, LOST_CODE = "ContainerStatusUnknown", 137
USED_TO_RUN = "The container could not be located when the pod was deleted.  The container used to be Running"
NOT_LOCATED = "The container could not be located when the pod was terminated"


def container_status(pod: Object, container: Object, observed: Observed, remembered: Remembered, now: float) -> Object:
    """The member of ``containerStatuses`` for ``container``, as Kubernetes' ContainerStatus."""
    attempts = observed.attempts(container["name"])
    latest = attempts[0] if attempts else None
    state = _state(pod, container, latest, remembered, now)
    status: Object = {
        "name": container["name"],
        "state": state,
        "lastState": {},
        "ready": False,
        "started": latest is not None and is_started(container, latest, remembered),
        "restartCount": latest.attempt if latest else 0,
        "image": latest.image if latest else container["image"],
        "imageID": latest.image_id if latest else "",
    }
    if container in pods.ephemeral_containers(pod):
        # It has no startup probe that could be waited for.
        del status["started"]
    if mounts := container.get("volumeMounts"):
        status["volumeMounts"] = [_mounted(one, latest) for one in mounts]
    status |= _resources(pod, container, latest, remembered)
    if latest is not None:
        status["containerID"] = f"containerd://{latest.id}"
        # A container that waits to run again shows its end as the last state; one that is seen ended, the end before.
        ended = [one for one in attempts if one.has_exited]
        shown_now = 1 if "terminated" in state else 0
        if len(ended) > shown_now:
            status["lastState"] = {"terminated": terminated(ended[shown_now], remembered)}
        if latest.user is not None:
            status["user"] = {"linux": _user(latest.user)}
        status["ready"] = _is_ready(pod, container, latest, remembered)
    return status


def _mounted(mount: Object, latest: Container | None) -> Object:
    """What became of a mount (KEP-3857): what is below one that is only read may be written to, or not."""
    is_deep = latest is not None and mount["mountPath"] in latest.only_read_below
    how = {"readOnly": True, "recursiveReadOnly": "Enabled" if is_deep else "Disabled"} if mount.get("readOnly") else {}
    return {"name": mount["name"], "mountPath": mount["mountPath"], **how}


def _user(user: User) -> Object:
    """ContainerUser's ``linux`` (KEP-3619)."""
    return {"uid": user.uid, "gid": user.gid, "supplementalGroups": list(user.groups)}


def _resources(pod: Object, container: Object, latest: Container | None, remembered: Remembered) -> Object:
    """``allocatedResources``, what it may have, and ``resources``, what its cgroup holds.

    A container that can be resized tells its ``resources`` from its making on, though they be none (KEP-1287).
    """
    told: Object = {"resources": {}} if latest is not None and resize.is_resizable(pod, container) else {}
    if not container.get("resources") and container["name"] not in remembered.allocated:
        return told
    granted = remembered.allocated.get(container["name"])
    allocated = resize.with_resources(pod, {container["name"]: granted}) if granted is not None else pod
    mine = pods.find_container(allocated, container["name"]) or container
    held = resize.actuated(latest, remembered.actuated) if latest is not None and latest.is_running else None
    # The same amounts are shown as they were granted, however they were written when the container was made.
    differs = held is not None and not resize.same(held, resize.wished(mine))
    holding = resize.with_resources(allocated, {container["name"]: held}) if held and differs else allocated
    now = pods.find_container(holding, container["name"]) or mine
    found = {"allocatedResources": pods.resources(mine, "requests"), "resources": now.get("resources") or {}}
    return told | {key: value for key, value in found.items() if value}


def terminated(container: Container, remembered: Remembered) -> Object:
    """ContainerStateTerminated of a container that has ended."""
    lost = container.state is ContainerState.UNKNOWN
    began = container.started_at or container.reason == START_ERROR
    state: Object = {
        "exitCode": container.exit_code or (LOST_CODE if lost else 0),
        "reason": LOST if lost else container.reason or ("Completed" if container.exit_code == 0 else "Error"),
        # A process that could not be started began at the epoch, as with a kubelet; of one that is lost nobody knows.
        "startedAt": rfc3339(container.started_at) if began else None,
        "finishedAt": rfc3339(container.finished_at) if container.finished_at else None,
        "containerID": f"containerd://{container.id}",
    }
    message = remembered.messages.get(container.id) or (container.message if container.reason == START_ERROR else "")
    message = message or (USED_TO_RUN if lost else "")
    return state | {"message": message} if message else state


def ended_anyhow(init: list[Object], main: list[Object]) -> tuple[list[Object], list[Object]]:
    """The statuses of a pod that has ended, of which none may look as if it were still to begin.

    Init containers after the first that was not reached, and all others if those did not get through, have never been
    meant to run (the kubelet's ``TerminatePod``).
    """
    waiting = [number for number, one in enumerate(init) if _is_untouched(one)]
    reached = next((number for number in range(len(init), 0, -1) if number - 1 not in waiting), 1)
    last = init[-1] if init else None
    is_through = (
        last is None
        or any(not _is_untouched(one) for one in main)
        or bool(last["started"] if "running" in last["state"] else last["ready"])
    )
    return (
        [_ended(one) if number < reached else one for number, one in enumerate(init)],
        [_ended(one) for one in main] if is_through else main,
    )


def _is_untouched(status: Object) -> bool:
    return "waiting" in status["state"] and not status["lastState"]


def _ended(status: Object) -> Object:
    if "waiting" not in status["state"]:
        return status
    end = {"exitCode": LOST_CODE, "reason": LOST, "message": NOT_LOCATED, "startedAt": None, "finishedAt": None}
    return {**status, "state": {"terminated": end}}


def _state(
    pod: Object, container: Object, latest: Container | None, remembered: Remembered, now: float
) -> dict[str, Object]:
    trouble = remembered.containers.get(container["name"])
    if latest is None or latest.state is ContainerState.CREATED:
        return {"waiting": _trouble(container, trouble, now) if trouble else _default_waiting(pod)}
    if latest.is_running:
        return {"running": {"startedAt": rfc3339(latest.started_at)}}
    again = restarts.should_restart(pod, container, latest, remembered.replacing)
    over = pods.is_deleting(pod) or remembered.ending is not None or not again
    if over:
        return {"terminated": terminated(latest, remembered)}
    if trouble:
        return {"waiting": _trouble(container, trouble, now)}
    is_fresh = restarts.delay(latest) == 0 or now - latest.ended < FRESH_SECONDS
    if is_fresh and latest.reason == START_ERROR:
        return {"waiting": {"reason": "RunContainerError", "message": latest.message}}
    if is_fresh and latest.id in remembered.failed_hooks:
        return {"waiting": {"reason": "PostStartHookError", "message": remembered.failed_hooks[latest.id]}}
    if restarts.delay(latest) > 0:
        return {"waiting": _crash_loop(pod, container, latest)}
    return {"terminated": terminated(latest, remembered)}


def _default_waiting(pod: Object) -> Object:
    return {"reason": "PodInitializing" if pods.init_containers(pod) else "ContainerCreating"}


def _trouble(container: Object, trouble: Trouble, now: float) -> Object:
    if trouble.reason == "ErrImagePull" and not trouble.is_fresh(now):
        message = f'Back-off pulling image "{container["image"]}": ErrImagePull: {trouble.message}'
        return {"reason": "ImagePullBackOff", "message": message}
    return {"reason": trouble.reason, "message": trouble.message}


def _crash_loop(pod: Object, container: Object, latest: Container) -> Object:
    wait = go_duration(restarts.delay(latest))
    message = f"back-off {wait} restarting failed container={container['name']} pod={pods.describe(pod)}"
    return {"reason": "CrashLoopBackOff", "message": message}


def _is_ready(pod: Object, container: Object, latest: Container, remembered: Remembered) -> bool:
    if not pods.is_sidecar(container) and container in pods.init_containers(pod):
        return latest.has_exited and latest.exit_code == 0
    if container in pods.ephemeral_containers(pod):
        return False
    if not is_started(container, latest, remembered):
        return False
    return not container.get("readinessProbe") or remembered.ready.get(latest.id, False)


def go_duration(seconds: float) -> str:
    """``90`` as ``1m30s``, as Go prints durations."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest}s"


def go_milliseconds(seconds: float) -> str:
    """``0.25`` as ``250ms`` and ``62.5`` as ``1m2.5s``, as Go prints durations that were cut to milliseconds."""
    milliseconds = int(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest / 1000:g}s"
