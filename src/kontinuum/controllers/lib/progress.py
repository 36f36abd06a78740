"""A Deployment's status: its counts, and whether its rollout goes on, is complete, or has run out of time.

    (no condition) ──▶ NewReplicaSetCreated / FoundNewReplicaSet
                            │ counts move: ReplicaSetUpdated (the clock starts again)
                            ├──▶ all new, all available: NewReplicaSetAvailable
                            └──▶ nothing moves for progressDeadlineSeconds: ProgressDeadlineExceeded
    pausing stops the clock (DeploymentPaused), resuming starts it again (DeploymentResumed)

The reasons and messages are Kubernetes' (``deployment/progress.go``): ``kubectl rollout status`` decides by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kontinuum.api.machinery.conditions import find, remove_condition, set_condition
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.foundation.clock import parse_rfc3339, rfc3339

_NEVER = 2**31 - 1
_DEFAULT_DEADLINE = 600


@dataclass(frozen=True, slots=True)
class Rollout:
    """What a status is computed from: the ReplicaSets as they will be when this decision has been carried out."""

    new: Object | None
    all: Sequence[Object]
    fewest_available: int
    created: str = ""
    """The name of the new ReplicaSet if this decision creates it."""
    judge: bool = True
    """Look at progress; not while paused or scaling, whose changes are no progress of a rollout."""


def status(deployment: Object, rollout: Rollout, now: float) -> Object:
    """The status that ``rollout`` amounts to."""
    old = deployment.get("status") or {}
    new = _counts(deployment, rollout)
    conditions = list(old.get("conditions") or ())
    available = new.get("availableReplicas", 0) >= rollout.fewest_available
    conditions = _put(
        conditions,
        "Available",
        available,
        "MinimumReplicasAvailable" if available else "MinimumReplicasUnavailable",
        f"Deployment {'has' if available else 'does not have'} minimum availability.",
        now,
    )
    if deadline_of(deployment) is not None:
        conditions = _pausing(deployment, conditions, now)
        conditions = _beginning(rollout, conditions, now)
        if rollout.judge:
            conditions = _judgement(deployment, old, new, rollout, conditions, now)
    conditions = _replica_failure(rollout, conditions, now)
    return new | ({"conditions": conditions} if conditions else {})


def is_complete(deployment: Object, status_: Object) -> bool:
    """All replicas are new and available, and no others are left."""
    replicas = replicas_of(deployment)
    counts = (status_.get(key, 0) for key in ("updatedReplicas", "replicas", "availableReplicas"))
    generation = deployment["metadata"].get("generation", 0)
    return all(count == replicas for count in counts) and status_.get("observedGeneration", 0) >= generation


def seconds_to_deadline(deployment: Object, status_: Object, now: float) -> float | None:
    """When to look again whether the rollout has run out of time; None if that cannot happen."""
    deadline = deadline_of(deployment)
    progressing = find(status_.get("conditions") or (), "Progressing")
    if deadline is None or progressing is None or is_complete(deployment, status_):
        return None
    if progressing["reason"] in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded", "DeploymentPaused"):
        return None
    # One second more, because conditions carry whole seconds.
    return max(0.0, parse_rfc3339(progressing["lastUpdateTime"]) + deadline - now) + 1


def deadline_of(deployment: Object) -> int | None:
    """``progressDeadlineSeconds``, or None if the rollout may take for ever."""
    deadline = deployment["spec"].get("progressDeadlineSeconds")
    deadline = _DEFAULT_DEADLINE if deadline is None else int(deadline)
    return None if deadline >= _NEVER else deadline


def replicas_of(obj: Object) -> int:
    """A workload's wanted replicas: 1 when nothing is said."""
    replicas = obj["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def creation_failed(deployment: Object, status_: Object, message: str, now: float) -> Object:
    """``status_`` when the new ReplicaSet could not be created."""
    if deadline_of(deployment) is None:
        return status_
    conditions = status_.get("conditions") or []
    return {**status_, "conditions": _put(conditions, "Progressing", False, "ReplicaSetCreateError", message, now)}


def _counts(deployment: Object, rollout: Rollout) -> Object:
    def total(key: str) -> int:
        return sum((one.get("status") or {}).get(key, 0) for one in rollout.all)

    available = total("availableReplicas")
    counts = {
        "replicas": total("replicas"),
        "updatedReplicas": ((rollout.new or {}).get("status") or {}).get("replicas", 0),
        "readyReplicas": total("readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, sum(replicas_of(one) for one in rollout.all) - available),
        "collisionCount": (deployment.get("status") or {}).get("collisionCount", 0),
    }
    told: Object = {"observedGeneration": deployment["metadata"].get("generation", 0)}
    told |= {name: count for name, count in counts.items() if count}
    terminating = [(one.get("status") or {}).get("terminatingReplicas") for one in rollout.all]
    known = [count for count in terminating if count is not None]
    return told | ({"terminatingReplicas": sum(known)} if known else {})


def _pausing(deployment: Object, conditions: list[Object], now: float) -> list[Object]:
    """Pausing and resuming touch the clock, so that time spent paused is not held against the rollout."""
    current = find(conditions, "Progressing") or {}
    if current.get("reason") == "ProgressDeadlineExceeded":
        return conditions
    paused = bool(deployment["spec"].get("paused"))
    was_paused = current.get("reason") == "DeploymentPaused"
    if paused and not was_paused:
        return _put(conditions, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now)
    if was_paused and not paused:
        return _put(conditions, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now)
    return conditions


def _beginning(rollout: Rollout, conditions: list[Object], now: float) -> list[Object]:
    if rollout.created:
        message = f'Created new replica set "{rollout.created}"'
        return _put(conditions, "Progressing", True, "NewReplicaSetCreated", message, now)
    if rollout.new is not None and find(conditions, "Progressing") is None:
        message = f'Found new replica set "{name_of(rollout.new)}"'
        return _put(conditions, "Progressing", True, "FoundNewReplicaSet", message, now)
    return conditions


def _judgement(
    deployment: Object, old: Object, new: Object, rollout: Rollout, conditions: list[Object], now: float
) -> list[Object]:
    current = find(conditions, "Progressing") or {}
    if current.get("reason") == "NewReplicaSetAvailable" and new.get("replicas", 0) == new.get("updatedReplicas", 0):
        # It was complete before: a pod that fails now is no matter of the rollout.
        return conditions
    subject = f'ReplicaSet "{name_of(rollout.new)}"' if rollout.new else f'Deployment "{name_of(deployment)}"'
    if is_complete(deployment, new):
        message = f"{subject} has successfully progressed."
        return _put(conditions, "Progressing", True, "NewReplicaSetAvailable", message, now)
    if _has_moved(old, new):
        return _put(conditions, "Progressing", True, "ReplicaSetUpdated", f"{subject} is progressing.", now)
    if _has_timed_out(deployment, current, now):
        message = f"{subject} has timed out progressing."
        return _put(conditions, "Progressing", False, "ProgressDeadlineExceeded", message, now)
    return conditions


def _has_moved(old: Object, new: Object) -> bool:
    def rose(key: str) -> bool:
        return bool(new.get(key, 0) > old.get(key, 0))

    def outdated(status_: Object) -> int:
        return int(status_.get("replicas", 0) - status_.get("updatedReplicas", 0))

    return (
        rose("updatedReplicas") or rose("readyReplicas") or rose("availableReplicas") or outdated(new) < outdated(old)
    )


def _has_timed_out(deployment: Object, current: Object, now: float) -> bool:
    if not current or current["reason"] == "NewReplicaSetAvailable":
        return False
    if current["reason"] == "ProgressDeadlineExceeded":
        return True
    return parse_rfc3339(current["lastUpdateTime"]) + (deadline_of(deployment) or _NEVER) < now


def _replica_failure(rollout: Rollout, conditions: list[Object], now: float) -> list[Object]:
    """What stops a ReplicaSet from making pods is shown on the Deployment; the new one's trouble first."""
    in_order = [*([rollout.new] if rollout.new else []), *(one for one in rollout.all if one is not rollout.new)]
    for replicaset in in_order:
        failure = find((replicaset.get("status") or {}).get("conditions") or (), "ReplicaFailure")
        if failure is not None and failure["status"] == "True":
            return _put(conditions, "ReplicaFailure", True, failure["reason"], failure.get("message", ""), now)
    return remove_condition(conditions, "ReplicaFailure")


def _put(
    conditions: Sequence[Object], kind: str, status_: bool | str, reason: str, message: str, now: float
) -> list[Object]:
    """Set a condition; ``lastUpdateTime`` moves only when something is said that was not said before...

    ...except ReplicaSetUpdated, whose repetition is the very news that starts the deadline's clock again.
    """
    old = find(conditions, kind)
    wanted = str(status_)
    same = old is not None and (old["status"], old["reason"], old.get("message")) == (wanted, reason, message)
    if same and reason != "ReplicaSetUpdated":
        return list(conditions)
    time = rfc3339(now)
    return set_condition(conditions, kind, wanted, now=time, reason=reason, message=message, lastUpdateTime=time)
