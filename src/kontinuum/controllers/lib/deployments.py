"""What a Deployment needs next, decided anew from the ReplicaSets that are there: one step at a time.

``lib.rollout`` does the arithmetic and ``lib.progress`` the status. The annotations are Kubernetes', so that ``kubectl
rollout`` works (``deployment/util`` and ``deployment/sync.go``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kontinuum.api.kubernetes.resources import DEPLOYMENTS, REPLICASETS
from kontinuum.api.machinery.objects import Object, annotations_of, name_of, namespace_of
from kontinuum.controllers.lib import owners, progress, rollout
from kontinuum.controllers.lib.names import template_hash
from kontinuum.controllers.lib.progress import replicas_of
from kontinuum.controllers.lib.templates import HASH_LABEL, same_template

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
_OWN_ANNOTATIONS = (REVISION, REVISION_HISTORY, DESIRED, MAXIMUM, "deprecated.deployment.rollback.to")
_NOT_COPIED = (*_OWN_ANNOTATIONS, "kubectl.kubernetes.io/last-applied-configuration")


@dataclass(frozen=True, slots=True)
class Patch:
    """A merge patch of one ReplicaSet; ``replicas`` is its new size if that changes."""

    replicaset: Object
    patch: Object
    replicas: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """One step, in the order in which it is carried out."""

    status: Object
    create: Object | None = None
    patches: list[Patch] = field(default_factory=list)
    revision: str = ""
    """The Deployment's revision annotation, if it must change."""
    delete: list[Object] = field(default_factory=list)


def plan(deployment: Object, replicasets: Sequence[Object], *, old_pods_run: bool, now: float) -> Plan:
    """The next step towards the Deployment's wishes, given the ReplicaSets that it owns.

    ``old_pods_run`` says whether a pod of an old ReplicaSet still runs, which Recreate must wait for.
    """
    ordered = sorted(replicasets, key=lambda one: (one["metadata"]["creationTimestamp"], name_of(one)))
    new = next((one for one in ordered if same_template(one["spec"]["template"], template_of(deployment))), None)
    old = [one for one in ordered if one is not new]
    wanted = _limits(deployment)
    leaving = "deletionTimestamp" in deployment["metadata"]
    paused = bool(deployment["spec"].get("paused"))
    scaling = paused or _is_scaled(deployment, ordered)
    create, sizes = (None, {}) if leaving else _step(deployment, new, old, scaling=scaling, old_pods_run=old_pods_run)

    after = [_resized(one, sizes) for one in ordered]
    new_after = next((one for one in after if new is not None and name_of(one) == name_of(new)), None)
    status = progress.status(
        deployment,
        progress.Rollout(
            new=new_after,
            all=after,
            fewest_available=wanted.fewest_available,
            created=name_of(create) if create else "",
            judge=not scaling and not leaving and create is None,
        ),
        now,
    )
    if leaving:
        return Plan(status)
    revision = _next_revision(new, old)
    patches = [_patch(deployment, one, sizes, revision if one is new else "", wanted) for one in ordered]
    known = annotations_of(deployment).get(REVISION)
    return Plan(
        status=status,
        create=create,
        patches=[one for one in patches if one.patch],
        revision=revision if revision != known and (new or create) else "",
        delete=_superfluous(deployment, old) if paused or progress.is_complete(deployment, status) else [],
    )


def _step(
    deployment: Object, new: Object | None, old: Sequence[Object], *, scaling: bool, old_pods_run: bool
) -> tuple[Object | None, dict[str, int]]:
    """A ReplicaSet to create, and new sizes by name. A changed number comes before the strategy."""
    wanted = _limits(deployment)
    if scaling:
        return None, _scaled(deployment, new, old, wanted)
    if is_recreate(deployment):
        return _recreate(deployment, new, old, old_pods_run)
    return _roll(deployment, new, old, wanted)


def template_of(deployment: Object) -> Object:
    template: Object = deployment["spec"].get("template") or {}
    return template


def is_recreate(deployment: Object) -> bool:
    return (deployment["spec"].get("strategy") or {}).get("type") == "Recreate"


def _limits(deployment: Object) -> rollout.Limits:
    replicas = replicas_of(deployment)
    if is_recreate(deployment):
        return rollout.Limits(replicas, 0, 0)
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    return rollout.limits(replicas, rolling.get("maxSurge"), rolling.get("maxUnavailable"))


def _group(replicaset: Object) -> rollout.Group:
    status = replicaset.get("status") or {}
    return rollout.Group(
        name=name_of(replicaset),
        replicas=replicas_of(replicaset),
        available=status.get("availableReplicas", 0),
        existing=status.get("replicas", 0),
        settled=_is_settled(replicaset),
        annotated_maximum=_number(replicaset, MAXIMUM),
    )


def _is_settled(replicaset: Object) -> bool:
    observed = (replicaset.get("status") or {}).get("observedGeneration", 0)
    return bool(observed >= replicaset["metadata"].get("generation", 0))


def _number(obj: Object, annotation: str) -> int:
    text = annotations_of(obj).get(annotation, "")
    return int(text) if text.isdecimal() else 0


def _is_scaled(deployment: Object, replicasets: Sequence[Object]) -> bool:
    """True if ``spec.replicas`` changed since a ReplicaSet with pods was last sized: that comes before rolling on."""
    desired = str(replicas_of(deployment))
    return any(replicas_of(one) > 0 and annotations_of(one).get(DESIRED, desired) != desired for one in replicasets)


def _scaled(deployment: Object, new: Object | None, old: Sequence[Object], wanted: rollout.Limits) -> dict[str, int]:
    """New sizes when only the number changes: of the one active ReplicaSet, or shared out among several."""
    everything = [*old, *([new] if new else [])]
    active = [one for one in everything if replicas_of(one) > 0]
    if len(active) <= 1:
        chosen = active[0] if active else new or (old[-1] if old else None)
        return {name_of(chosen): wanted.replicas} if chosen else {}
    if new is not None and _is_saturated(deployment, new):
        return {name_of(one): 0 for one in old}
    if is_recreate(deployment):
        # Old ones go to nothing anyway: note the new number, and let the strategy go on.
        return {name_of(one): replicas_of(one) for one in active}
    current = (deployment.get("status") or {}).get("replicas", 0)
    return rollout.scale_proportionally([_group(one) for one in everything], wanted, current_replicas=current)


def _is_saturated(deployment: Object, new: Object) -> bool:
    replicas = replicas_of(deployment)
    return replicas_of(new) == _number(new, DESIRED) == _group(new).available == replicas


def _roll(
    deployment: Object, new: Object | None, old: Sequence[Object], wanted: rollout.Limits
) -> tuple[Object | None, dict[str, int]]:
    groups = [_group(one) for one in old]
    if new is not None:
        return None, rollout.roll(_group(new), groups, wanted)
    fresh = _new_replicaset(deployment, old, wanted)
    first = rollout.roll(rollout.Group(name_of(fresh), 0, 0), groups, wanted)
    fresh["spec"]["replicas"] = first.get(name_of(fresh), 0)
    return fresh, {}


def _recreate(
    deployment: Object, new: Object | None, old: Sequence[Object], old_pods_run: bool
) -> tuple[Object | None, dict[str, int]]:
    sizes = {name_of(one): 0 for one in old if replicas_of(one) > 0}
    if sizes or old_pods_run:
        return None, sizes
    if new is None:
        return _new_replicaset(deployment, old, _limits(deployment)), {}
    return None, {name_of(new): replicas_of(deployment)}


def _new_replicaset(deployment: Object, old: Sequence[Object], wanted: rollout.Limits) -> Object:
    """The ReplicaSet of the present template, with all replicas. Its name follows from the template."""
    template = template_of(deployment)
    collisions = (deployment.get("status") or {}).get("collisionCount", 0)
    digest = template_hash(template, collisions)
    metadata = template.get("metadata") or {}
    labels = {**(metadata.get("labels") or {}), HASH_LABEL: digest}
    selector = deployment["spec"].get("selector") or {}
    spec: Object = {
        "replicas": wanted.replicas,
        "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), HASH_LABEL: digest}},
        "template": {**template, "metadata": {**metadata, "labels": labels}},
    }
    if deployment["spec"].get("minReadySeconds"):
        spec["minReadySeconds"] = deployment["spec"]["minReadySeconds"]
    annotations = _copied_annotations(deployment) | _size_annotations(wanted) | {REVISION: _next_revision(None, old)}
    return {
        "apiVersion": REPLICASETS.api_version,
        "kind": REPLICASETS.kind,
        "metadata": {
            "name": f"{name_of(deployment)}-{digest}",
            "namespace": namespace_of(deployment),
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owners.controller_reference(deployment, DEPLOYMENTS)],
        },
        "spec": spec,
    }


def _copied_annotations(deployment: Object) -> dict[str, str]:
    return {key: value for key, value in annotations_of(deployment).items() if key not in _NOT_COPIED}


def _size_annotations(wanted: rollout.Limits) -> dict[str, str]:
    return {DESIRED: str(wanted.replicas), MAXIMUM: str(wanted.largest)}


def _next_revision(new: Object | None, old: Sequence[Object]) -> str:
    """One more than any old ReplicaSet's, unless the present one is ahead already."""
    highest = max((_number(one, REVISION) for one in old), default=0)
    return str(max(highest + 1, _number(new, REVISION) if new else 0))


def _patch(
    deployment: Object, replicaset: Object, sizes: Mapping[str, int], revision: str, wanted: rollout.Limits
) -> Patch:
    """What must change on one ReplicaSet; ``revision`` is given for the present one only."""
    have = annotations_of(replicaset)
    annotations: dict[str, str] = {}
    spec: Object = {}
    size = sizes.get(name_of(replicaset))
    if size is not None:
        annotations |= _size_annotations(wanted)
        if size != replicas_of(replicaset):
            spec["replicas"] = size
    if revision:
        annotations |= _copied_annotations(deployment) | {REVISION: revision}
        if have.get(REVISION) and have[REVISION] != revision:
            annotations[REVISION_HISTORY] = ",".join(filter(None, [have.get(REVISION_HISTORY), have[REVISION]]))
        minimum = deployment["spec"].get("minReadySeconds") or 0
        if (replicaset["spec"].get("minReadySeconds") or 0) != minimum:
            spec["minReadySeconds"] = minimum
    changed = {key: value for key, value in annotations.items() if have.get(key) != value}
    patch: Object = {"metadata": {"annotations": changed}} if changed else {}
    return Patch(replicaset, patch | ({"spec": spec} if spec else {}), spec.get("replicas"))


def _resized(replicaset: Object, sizes: Mapping[str, int]) -> Object:
    size = sizes.get(name_of(replicaset), replicas_of(replicaset))
    return {**replicaset, "spec": {**replicaset["spec"], "replicas": size}}


def _superfluous(deployment: Object, old: Sequence[Object]) -> list[Object]:
    """Old ReplicaSets beyond ``revisionHistoryLimit``, the oldest revisions first; only empty and settled ones."""
    limit = deployment["spec"].get("revisionHistoryLimit")
    alive = [one for one in old if "deletionTimestamp" not in one["metadata"]]
    excess = len(alive) - (10 if limit is None else int(limit))
    oldest = sorted(alive, key=lambda one: _number(one, REVISION))[: max(0, excess)]
    return [one for one in oldest if _is_settled_and_empty(one)]


def _is_settled_and_empty(replicaset: Object) -> bool:
    left = (replicaset.get("status") or {}).get("replicas")
    return _is_settled(replicaset) and replicas_of(replicaset) == 0 and not left
