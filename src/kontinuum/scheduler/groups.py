"""Pod groups: pods that are of use only together, by the convention of Kubernetes' coscheduling plugin.

A pod says by a label which group it is of. How many must be placed together says the PodGroup of that name (where its
CRD, of scheduler-plugins, is installed), or by the older convention the pods themselves. Pure functions of objects.

    scheduling.x-k8s.io/pod-group: NAME                                       and a PodGroup NAME
    pod-group.scheduling.sigs.k8s.io/name: NAME, .../min-available: "3"       and nothing else
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kontinuum.api.machinery.objects import Object, key_of, labels_of, name_of, namespace_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.scheduler.reading import is_finished, node_of

PODGROUPS = Resource(
    group="scheduling.x-k8s.io", version="v1alpha1", kind="PodGroup", plural="podgroups", namespaced=True,
    singular="podgroup", short_names=("pg", "pgs"), subresources=("status",),
)  # fmt: skip
LABEL = "scheduling.x-k8s.io/pod-group"
OLD_LABEL, OLD_MINIMUM = "pod-group.scheduling.sigs.k8s.io/name", "pod-group.scheduling.sigs.k8s.io/min-available"
TIMEOUT = 60.0
"""Seconds that a group's bindings may take, unless the group says otherwise (the plugin's default)."""
NOT_FOUND = "PodGroup not found"


@dataclass(frozen=True, slots=True)
class Group:
    """What must happen together."""

    key: str
    minimum: int
    timeout: float


def group_key(pod: Object) -> str:
    """``namespace/name`` of the group that a pod says it is of, or ""."""
    labels = labels_of(pod)
    name = labels.get(LABEL) or labels.get(OLD_LABEL)
    return f"{namespace_of(pod)}/{name}" if name else ""


def needs_object(pod: Object) -> bool:
    """True if the group is described by a PodGroup, not by its pods."""
    return bool(labels_of(pod).get(LABEL))


def read_group(pod_group: Object) -> Group:
    """A PodGroup's demand."""
    spec = pod_group.get("spec") or {}
    timeout = spec.get("scheduleTimeoutSeconds") or TIMEOUT
    return Group(key_of(pod_group), max(1, int(spec.get("minMember") or 1)), float(timeout))


def group_by_labels(pod: Object) -> Group | None:
    """The group of a pod of the older convention; None if its minimum is no number above one: then it has none."""
    minimum = labels_of(pod).get(OLD_MINIMUM, "")
    return Group(group_key(pod), int(minimum), TIMEOUT) if minimum.isdigit() and int(minimum) > 1 else None


def counts_as_placed(pod: Object) -> bool:
    """True if the pod does its part, or has done it."""
    phase = (pod.get("status") or {}).get("phase")
    return phase == "Succeeded" or (bool(node_of(pod)) and not is_finished(pod))


def too_few(pod: Object, group: Group, members: int) -> str:
    """Why a group cannot be placed that has not all its pods yet."""
    return (
        f"pre-filter pod {name_of(pod)} cannot find enough sibling pods, "
        f"current pods number: {members}, minMember of group: {group.minimum}"
    )


def rejected(group: Group, failed: Object) -> str:
    """What a member is told that would have fitted, had the others."""
    return f"PodGroup {group.key} gets rejected due to Pod {name_of(failed)} is unschedulable even after PostFilter"


def status(pod_group: Object, pods: Sequence[Object], now: str) -> Object:
    """The status of a PodGroup whose pods are ``pods``: phase and counts, as scheduler-plugins' controller says."""
    old = pod_group.get("status") or {}
    if old.get("phase") in ("Finished", "Failed"):
        return old
    minimum = read_group(pod_group).minimum
    phases = [(pod.get("status") or {}).get("phase") for pod in pods]
    running, succeeded, failed = (phases.count(one) for one in ("Running", "Succeeded", "Failed"))
    new = {**old, "running": running, "succeeded": succeeded, "failed": failed}
    new["phase"] = _phase(minimum, len(pods), running, succeeded, failed)
    if new["phase"] != "Pending":
        new.setdefault("scheduleStartTime", now)
        owners = [owner["name"] for owner in pods[0]["metadata"].get("ownerReferences") or ()]
        if owners and not new.get("occupiedBy"):
            new["occupiedBy"] = ",".join(sorted(f"{namespace_of(pod_group)}/{name}" for name in owners))
    return new


def _phase(minimum: int, members: int, running: int, succeeded: int, failed: int) -> str:
    if succeeded >= minimum:
        return "Finished"
    if failed and failed + running + succeeded >= minimum:
        return "Failed"
    if members < minimum:
        return "Pending"
    return "Running" if succeeded + running >= minimum else "Scheduling"
