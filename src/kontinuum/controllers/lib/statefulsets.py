"""StatefulSets, decided: pods with a number, a name and disks of their own (kubernetes ``stateful_set_control.go``).

    ordinal in range:    absent ──create──▶ running ──ready, long enough──▶ available
                            ▲                  │ failed, finished, or of another revision whose turn it is
                            └──── gone ◀───────┘ delete
    ordinal out of range:   delete, the highest first

With OrderedReady every step waits until all pods before it are available; with Parallel none waits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from kontinuum.api.kubernetes.resources import PERSISTENTVOLUMECLAIMS, PODS, STATEFULSETS
from kontinuum.api.machinery.objects import Object, labels_of, name_of, namespace_of
from kontinuum.api.machinery.patches import copy
from kontinuum.controllers.lib import owners
from kontinuum.controllers.lib.pods import is_finished, is_leaving, is_ready, phase_of, seconds_until_available
from kontinuum.controllers.lib.revisions import HASH_LABEL

POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"
ORDINAL = re.compile(r"(.*)-(0|[1-9]\d*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Revisions:
    """Names of the revision that most pods have and of the one that they are to have, and the set as it was at each."""

    current: str
    update: str
    current_template: Object
    update_template: Object


@dataclass(slots=True)
class Plan:
    """What to do now, in this order; the rest follows when this has been seen."""

    create: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    recreate: list[Object] = field(default_factory=list)
    """Pods that have ended and must go, so that others take their place."""
    look_after: float | None = None
    """Seconds until a ready pod counts as available."""


def ordinal_of(statefulset: Object, pod: Object) -> int | None:
    """The pod's number; None if its name is not one of the set's."""
    found = ORDINAL.fullmatch(name_of(pod))
    return int(found[2]) if found is not None and found[1] == name_of(statefulset) else None


def range_of(statefulset: Object) -> range:
    """The ordinals that should exist."""
    spec = statefulset["spec"]
    start = (spec.get("ordinals") or {}).get("start") or 0
    replicas = spec.get("replicas")
    return range(start, start + (1 if replicas is None else int(replicas)))


def plan(statefulset: Object, pods: Sequence[Object], revisions: Revisions, now: float) -> Plan:
    """``pods`` are the set's own, in any order."""
    wanted = range_of(statefulset)
    by_ordinal = {ordinal: pod for pod in pods if (ordinal := ordinal_of(statefulset, pod)) is not None}
    result = Plan()
    if "deletionTimestamp" in statefulset["metadata"]:
        return result
    waits = _Waits(statefulset, now, result)
    is_ordered = statefulset["spec"].get("podManagementPolicy") != "Parallel"
    for ordinal in wanted:
        pod = by_ordinal.get(ordinal)
        if pod is None:
            result.create.append(new_pod(statefulset, ordinal, revisions))
        elif is_finished(pod) and not is_leaving(pod):
            result.recreate.append(pod)
        elif is_ordered and not waits.is_available(pod):
            return result
        if is_ordered and (result.create or result.recreate):
            return result
    condemned = [by_ordinal[one] for one in sorted(by_ordinal, reverse=True) if one not in wanted]
    _scale_down(condemned, waits, result, is_ordered=is_ordered)
    if is_ordered and (condemned or result.create or result.recreate):
        return result
    _roll(statefulset, [by_ordinal[one] for one in wanted if one in by_ordinal], revisions, waits, result)
    return result


class _Waits:
    """Which pods are available, and when the next one will be."""

    def __init__(self, statefulset: Object, now: float, result: Plan) -> None:
        self._minimum = statefulset["spec"].get("minReadySeconds") or 0
        self._now = now
        self._result = result

    def is_healthy(self, pod: Object) -> bool:
        """Running, ready and here to stay, for however short a time."""
        return not is_leaving(pod) and phase_of(pod) == "Running" and seconds_until_available(pod, 0, self._now) == 0

    def is_available(self, pod: Object) -> bool:
        if is_leaving(pod) or phase_of(pod) != "Running":
            return False
        seconds = seconds_until_available(pod, self._minimum, self._now)
        if seconds:
            self._result.look_after = min(seconds, self._result.look_after or math.inf)
        return seconds == 0


def _scale_down(condemned: Sequence[Object], waits: _Waits, result: Plan, *, is_ordered: bool) -> None:
    """``condemned`` from the highest ordinal down; one after the other if ordered.

    Then one that is not available waits until those before it are well (``processCondemned`` in Kubernetes'
    stateful_set_control.go): of several that are unwell the lowest is mended or removed first.
    """
    first_unwell = next((pod for pod in reversed(condemned) if not waits.is_healthy(pod)), None)
    for pod in condemned:
        is_blocked = is_ordered and not waits.is_available(pod) and pod is not first_unwell
        if not is_leaving(pod) and not is_blocked:
            result.delete.append(pod)
        if is_ordered:
            return


def _roll(statefulset: Object, pods: Sequence[Object], revisions: Revisions, waits: _Waits, result: Plan) -> None:
    """Delete pods of another revision from the highest ordinal down, with no more missing than allowed."""
    strategy = statefulset["spec"].get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return
    rolling = strategy.get("rollingUpdate") or {}
    partition = range_of(statefulset).start + (rolling.get("partition") or 0)
    allowed = max_unavailable(rolling.get("maxUnavailable"), len(range_of(statefulset)))
    missing = len(result.create) + sum(not waits.is_available(pod) for pod in pods)
    for pod in reversed(pods):
        if (ordinal_of(statefulset, pod) or 0) < partition:
            return
        if labels_of(pod).get(HASH_LABEL) == revisions.update or is_leaving(pod) or pod in result.recreate:
            continue
        # One that does not work anyway costs nothing.
        others = missing - (not waits.is_available(pod))
        if others >= allowed:
            return
        result.delete.append(pod)
        missing = others + 1


def max_unavailable(value: int | str | None, replicas: int) -> int:
    """A number or a percentage of ``replicas``, rounded up; at least 1."""
    if isinstance(value, str) and value.endswith("%"):
        return max(1, math.ceil(replicas * int(value[:-1]) / 100))
    return max(1, int(value or 1))


def new_pod(statefulset: Object, ordinal: int, revisions: Revisions) -> Object:
    """Pod ``ordinal`` of the revision that its turn in a rollout gives it."""
    is_current = _needs_current(statefulset, ordinal)
    template = revisions.current_template if is_current else revisions.update_template
    name = f"{name_of(statefulset)}-{ordinal}"
    wanted = template.get("metadata") or {}
    labels = {
        **(wanted.get("labels") or {}), POD_NAME: name, POD_INDEX: str(ordinal),
        HASH_LABEL: revisions.current if is_current else revisions.update,
    }  # fmt: skip
    metadata: Object = {"name": name, "namespace": namespace_of(statefulset), "labels": labels}
    metadata |= {key: copy(wanted[key]) for key in ("annotations", "finalizers") if wanted.get(key)}
    metadata["ownerReferences"] = [owners.controller_reference(statefulset, STATEFULSETS)]
    spec = copy(template.get("spec") or {})
    spec |= {"hostname": name, "subdomain": statefulset["spec"].get("serviceName") or ""}
    claims = [one["metadata"]["name"] for one in statefulset["spec"].get("volumeClaimTemplates") or ()]
    others = [one for one in spec.get("volumes") or () if one["name"] not in claims]
    disks = [{"name": one, "persistentVolumeClaim": {"claimName": f"{one}-{name}"}} for one in claims]
    if disks or others:
        spec["volumes"] = [*disks, *others]
    return {"apiVersion": PODS.api_version, "kind": PODS.kind, "metadata": metadata, "spec": spec}


def _needs_current(statefulset: Object, ordinal: int) -> bool:
    """A pod below the partition of a rollout is made as the ones around it are (``isCurrentRevisionNeeded``)."""
    strategy = statefulset["spec"].get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return False
    start = range_of(statefulset).start
    rolling = strategy.get("rollingUpdate")
    if rolling is None:
        return ordinal < start + ((statefulset.get("status") or {}).get("currentReplicas") or 0)
    return ordinal < start + (rolling.get("partition") or 0)


def claims_of(statefulset: Object, pod: Object) -> list[Object]:
    """The claims of a pod's own disks, as they are made when they are missing."""
    labels = (statefulset["spec"].get("selector") or {}).get("matchLabels") or {}
    found = []
    for template in statefulset["spec"].get("volumeClaimTemplates") or ():
        claim: Object = copy({key: template[key] for key in ("metadata", "spec") if key in template})
        claim["metadata"] |= {
            "name": f"{template['metadata']['name']}-{name_of(pod)}",
            "namespace": namespace_of(statefulset),
            "labels": {**(template["metadata"].get("labels") or {}), **labels},
        }
        claim |= {"apiVersion": PERSISTENTVOLUMECLAIMS.api_version, "kind": PERSISTENTVOLUMECLAIMS.kind}
        found.append(claim)
    return found


def claim_owners(statefulset: Object, pod: Object, claim: Object) -> list[Object] | None:
    """The claim's owner references as the retention policy wants them; None if they are so already (KEP-1847)."""
    policy = statefulset["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    is_condemned = ordinal_of(statefulset, pod) not in range_of(statefulset)
    with_pod = policy.get("whenScaled") == "Delete" and is_condemned
    with_set = policy.get("whenDeleted") == "Delete" and not with_pod
    have = claim["metadata"].get("ownerReferences") or []
    others = [one for one in have if not _is_ours(one, statefulset, pod)]
    if any(one.get("controller") for one in others):
        return None  # Somebody else decides about it.
    wanted = list(others)
    if with_set:
        wanted.append(owners.controller_reference(statefulset, STATEFULSETS))
    elif with_pod:
        wanted.append(owners.controller_reference(pod, PODS))
    return None if _uids(have) == _uids(wanted) else wanted


def _uids(references: Sequence[Object]) -> list[str]:
    return sorted(one["uid"] for one in references)


def _is_ours(reference: Object, statefulset: Object, pod: Object) -> bool:
    return (reference.get("kind"), reference.get("name")) in (
        (STATEFULSETS.kind, name_of(statefulset)), (PODS.kind, name_of(pod)),
    )  # fmt: skip


def status(statefulset: Object, pods: Sequence[Object], revisions: Revisions, now: float) -> Object:
    """What the pods amount to; a finished rollout makes the update revision the current one."""
    old = statefulset.get("status") or {}
    spec = statefulset["spec"]
    own = [pod for pod in pods if ordinal_of(statefulset, pod) is not None]
    living = [pod for pod in own if not is_leaving(pod)]
    ready = [pod for pod in own if phase_of(pod) == "Running" and is_ready(pod)]
    minimum = spec.get("minReadySeconds") or 0
    available = [pod for pod in ready if seconds_until_available(pod, minimum, now) == 0]
    of = {name: sum(labels_of(pod).get(HASH_LABEL) == name for pod in living) for name in
          (revisions.current, revisions.update)}  # fmt: skip
    found: Object = {
        "observedGeneration": statefulset["metadata"].get("generation", 0),
        "replicas": len(own),
        "readyReplicas": len(ready),
        "availableReplicas": len(available),
        "currentReplicas": of[revisions.current],
        "updatedReplicas": of[revisions.update],
        "currentRevision": revisions.current,
        "updateRevision": revisions.update,
        "collisionCount": old.get("collisionCount") or 0,
    }
    if _is_rolled(statefulset, found):
        found |= {"currentRevision": revisions.update, "currentReplicas": found["updatedReplicas"]}
    if old.get("conditions"):
        found["conditions"] = old["conditions"]
    return {key: value for key, value in found.items() if value != 0 or key in ("replicas", "availableReplicas",
            "observedGeneration", "collisionCount")}  # fmt: skip


def _is_rolled(statefulset: Object, found: Object) -> bool:
    strategy = statefulset["spec"].get("updateStrategy") or {}
    return (
        strategy.get("type") != "OnDelete" and found["updatedReplicas"] == found["replicas"] == found["readyReplicas"]
    )
