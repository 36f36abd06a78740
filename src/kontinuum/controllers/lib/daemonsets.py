"""DaemonSets, decided: one pod on every node that wants it (kubernetes ``pkg/controller/daemon``).

A rollout takes old pods away, no more than ``maxUnavailable`` at a time, or with ``maxSurge`` puts new ones beside them
first. An old pod that does not work anyway is taken away at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from kontinuum.api.kubernetes import node_fit
from kontinuum.api.kubernetes.resources import DAEMONSETS, PODS
from kontinuum.api.machinery.objects import Object, labels_of, name_of, namespace_of, uid_of
from kontinuum.api.machinery.patches import copy
from kontinuum.controllers.lib import owners, placement, taints
from kontinuum.controllers.lib.names import FreshNames
from kontinuum.controllers.lib.pods import is_finished, is_leaving, is_ready, phase_of, seconds_until_available
from kontinuum.controllers.lib.revisions import HASH_LABEL

BURST = 250
"""Pods that one decision creates or deletes at most."""
HARD = ("NoSchedule", "NoExecute")
TOLERATED = (
    (taints.NOT_READY, "NoExecute"),
    (taints.UNREACHABLE, "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    (taints.UNSCHEDULABLE, "NoSchedule"),
)
"""A daemon stays whatever becomes of its node."""
WITHOUT_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")
"""Stood by those who use the node's own network: they may be who makes the other one."""


@dataclass(slots=True)
class Plan:
    """``create`` holds pods; ``failed`` and ``finished`` are deleted because they have ended."""

    create: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    failed: list[Object] = field(default_factory=list)
    finished: list[Object] = field(default_factory=list)
    look_after: float | None = None


@dataclass(frozen=True, slots=True)
class _Node:
    """What a node should have and what it has."""

    name: str
    runs: bool
    """A pod should be started here."""
    keeps: bool
    """A pod that is here may stay."""
    pods: list[Object]


def tolerations_of(daemonset: Object) -> list[Object]:
    spec = daemonset["spec"]["template"].get("spec") or {}
    added = [*TOLERATED, WITHOUT_NETWORK] if spec.get("hostNetwork") else TOLERATED
    have = list(spec.get("tolerations") or ())
    for key, effect in added:
        wanted = {"key": key, "operator": "Exists", "effect": effect}
        if wanted not in have:
            have.append(wanted)
    return have


def verdict(daemonset: Object, node: Object) -> tuple[bool, bool]:
    """Whether a pod should be started on the node, and whether one that runs there may stay."""
    spec = daemonset["spec"]["template"].get("spec") or {}
    if spec.get("nodeName") not in (None, "", name_of(node)) or not node_fit.fits_affinity(spec, node):
        return False, False
    tolerations = tolerations_of(daemonset)
    if node_fit.untolerated(tolerations, node, HARD):
        return False, not node_fit.untolerated(tolerations, node, ("NoExecute",))
    return True, True


def plan(
    daemonset: Object, nodes: Sequence[Object], pods: Sequence[Object], revision: str, names: FreshNames, now: float
) -> Plan:
    """``revision`` is the hash that pods of the present template carry."""
    result = Plan()
    if "deletionTimestamp" in daemonset["metadata"]:
        return result
    places = _places(daemonset, nodes, pods)
    view = _View(daemonset, revision, names, now, result)
    for place in places:
        _keep_one(daemonset, place, view, result)
    if (daemonset["spec"].get("updateStrategy") or {}).get("type") != "OnDelete":
        _roll(daemonset, places, view, result)
    known = {name_of(node) for node in nodes}
    # Pods of nodes that are gone: nobody else will end those that were never bound.
    lost = [pod for pod in pods if (target := placement.target_of(pod)) and target not in known]
    result.delete += [pod for pod in lost if not is_leaving(pod)]
    result.create, result.delete = result.create[:BURST], result.delete[:BURST]
    return result


def _places(daemonset: Object, nodes: Sequence[Object], pods: Sequence[Object]) -> list[_Node]:
    by_node: dict[str, list[Object]] = {}
    for pod in pods:
        by_node.setdefault(placement.target_of(pod), []).append(pod)
    return [_Node(name_of(node), *verdict(daemonset, node), by_node.get(name_of(node), [])) for node in nodes]


class _View:
    """What the pods are, seen from the present template."""

    def __init__(self, daemonset: Object, revision: str, names: FreshNames, now: float, result: Plan) -> None:
        self.revision = revision
        self.names = names
        self._minimum = daemonset["spec"].get("minReadySeconds") or 0
        self._now = now
        self._result = result

    def is_new(self, pod: Object) -> bool:
        return labels_of(pod).get(HASH_LABEL) == self.revision

    def is_available(self, pod: Object) -> bool:
        seconds = seconds_until_available(pod, self._minimum, self._now)
        if seconds:
            self._result.look_after = min(seconds, self._result.look_after or math.inf)
        return seconds == 0 and not is_leaving(pod)


def _keep_one(daemonset: Object, place: _Node, view: _View, result: Plan) -> None:
    """End what has no business here, and start what is missing."""
    if not place.keeps:
        result.delete += [pod for pod in place.pods if not is_leaving(pod)]
        return
    living = [pod for pod in place.pods if not is_leaving(pod)]
    ended = [pod for pod in living if is_finished(pod)]
    for pod in ended:
        (result.failed if phase_of(pod) == "Failed" else result.finished).append(pod)
    running = sorted((pod for pod in living if pod not in ended), key=_age)
    if not running and not ended and place.runs and not place.pods:
        result.create.append(new_pod(daemonset, place.name, view.revision, view.names))
    # While a rollout puts a new pod beside the old one there may be one of each.
    for group in (
        [pod for pod in running if view.is_new(pod)],
        [pod for pod in running if not view.is_new(pod)],
    ):
        result.delete += group[1:]


def _age(pod: Object) -> tuple[str, str]:
    return pod["metadata"].get("creationTimestamp") or "", name_of(pod)


def _roll(daemonset: Object, places: Sequence[_Node], view: _View, result: Plan) -> None:
    wanted = [place for place in places if place.runs]
    surge, unavailable = limits(daemonset, len(wanted))
    free: list[Object] = []
    candidates: list[Object] = []
    missing = surging = 0
    to_surge: list[_Node] = []
    for place in wanted:
        running = [
            one for one in place.pods if not is_leaving(one) and not is_finished(one) and one not in result.delete
        ]
        new = next((one for one in running if view.is_new(one)), None)
        old = next((one for one in running if not view.is_new(one)), None)
        if old is None:
            missing += new is None or not view.is_available(new)
        elif new is not None:
            surging += 1
            if view.is_available(new):
                result.delete.append(old)
        elif not view.is_available(old):
            missing += 1
            free.append(old)
        elif surge:
            to_surge.append(place)
        else:
            candidates.append(old)
    result.delete += [*free, *candidates[: max(0, unavailable - missing)]]
    for place in to_surge[: max(0, surge - surging)]:
        result.create.append(new_pod(daemonset, place.name, view.revision, view.names))


def limits(daemonset: Object, wanted: int) -> tuple[int, int]:
    """``maxSurge`` and ``maxUnavailable`` as numbers of pods; percentages round up. One of them is at least 1."""
    rolling = (daemonset["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    surge = _resolve(rolling.get("maxSurge"), 0, wanted)
    unavailable = _resolve(rolling.get("maxUnavailable"), 1, wanted)
    return surge, unavailable if surge or unavailable else 1


def _resolve(value: int | str | None, absent: int, of: int) -> int:
    if value is None:
        return absent
    if isinstance(value, str) and value.endswith("%"):
        return math.ceil(int(value[:-1]) * of / 100)
    return int(value)


def new_pod(daemonset: Object, node_name: str, revision: str, names: FreshNames) -> Object:
    """The daemon's pod for one node; the scheduler is left no other."""
    template = daemonset["spec"]["template"]
    wanted = template.get("metadata") or {}
    metadata: Object = {
        "name": names.child(name_of(daemonset), f"{uid_of(daemonset)}/{node_name}/{revision}"),
        "generateName": f"{name_of(daemonset)}-",
        "namespace": namespace_of(daemonset),
        "labels": {**(wanted.get("labels") or {}), HASH_LABEL: revision},
        "ownerReferences": [owners.controller_reference(daemonset, DAEMONSETS)],
    }
    metadata |= {key: copy(wanted[key]) for key in ("annotations", "finalizers") if wanted.get(key)}
    spec = copy(template.get("spec") or {})
    spec["affinity"] = placement.on_node(spec.get("affinity"), node_name)
    spec["tolerations"] = tolerations_of(daemonset)
    return {"apiVersion": PODS.api_version, "kind": PODS.kind, "metadata": metadata, "spec": spec}


def status(
    daemonset: Object, nodes: Sequence[Object], pods: Sequence[Object], revision: str, now: float
) -> Object:  # fmt: skip
    """What the pods on the nodes amount to."""
    minimum = daemonset["spec"].get("minReadySeconds") or 0
    desired = scheduled = misplaced = ready = available = updated = 0
    for place in _places(daemonset, nodes, pods):
        here = sorted((pod for pod in place.pods if not is_leaving(pod) and not is_finished(pod)), key=_age)
        if not place.runs:
            misplaced += bool(here)
            continue
        desired += 1
        scheduled += bool(here)
        updated += any(labels_of(pod).get(HASH_LABEL) == revision for pod in here)
        ready += any(is_ready(pod) for pod in here)
        available += any(seconds_until_available(pod, minimum, now) == 0 for pod in here)
    old = daemonset.get("status") or {}
    found: Object = {
        "currentNumberScheduled": scheduled,
        "numberMisscheduled": misplaced,
        "desiredNumberScheduled": desired,
        "numberReady": ready,
        "observedGeneration": daemonset["metadata"].get("generation", 0),
    }
    more = {"updatedNumberScheduled": updated, "numberAvailable": available, "numberUnavailable": desired - available}
    found |= {name: count for name, count in more.items() if count}
    for name in ("collisionCount", "conditions"):
        if old.get(name):
            found[name] = old[name]
    return found
