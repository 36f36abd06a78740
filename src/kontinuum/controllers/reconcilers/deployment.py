"""Deployments: from one ReplicaSet to the next, by the strategy that the Deployment asks for.

The decision is made anew from what is there, one step at a time (``plan``); ``lib.rollout`` does the arithmetic and
``lib.progress`` the status. The words and annotations are Kubernetes', so that ``kubectl rollout`` works.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kontinuum.api.kubernetes.resources import DEPLOYMENTS, PODS, REPLICASETS
from kontinuum.api.machinery.objects import Object, annotations_of, key_of, labels_of, name_of, namespace_of, uid_of
from kontinuum.api.machinery.selectors import from_object
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result, Workers
from kontinuum.client.writes import Writer
from kontinuum.controllers.context import BY_CONTROLLER, BY_NAMESPACE, Context, children
from kontinuum.controllers.lib import owners, progress, rollout
from kontinuum.controllers.lib.names import template_hash
from kontinuum.controllers.lib.pods import is_finished
from kontinuum.controllers.lib.progress import replicas_of
from kontinuum.controllers.lib.templates import HASH_LABEL, same_template
from kontinuum.foundation.errors import Retryable

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
    new = next((one for one in ordered if same_template(one["spec"]["template"], _template(deployment))), None)
    old = [one for one in ordered if one is not new]
    wanted = _limits(deployment)
    leaving = "deletionTimestamp" in deployment["metadata"]
    paused = bool(deployment["spec"].get("paused"))
    scaling = not leaving and (paused or _is_scaled(deployment, ordered))

    create, sizes = None, {}
    if scaling:
        sizes = _scaled(deployment, new, old, wanted)
    elif not leaving and _is_recreate(deployment):
        create, sizes = _recreate(deployment, new, old, old_pods_run)
    elif not leaving:
        create, sizes = _roll(deployment, new, old, wanted)

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


def _template(deployment: Object) -> Object:
    template: Object = deployment["spec"].get("template") or {}
    return template


def _is_recreate(deployment: Object) -> bool:
    return (deployment["spec"].get("strategy") or {}).get("type") == "Recreate"


def _limits(deployment: Object) -> rollout.Limits:
    replicas = replicas_of(deployment)
    if _is_recreate(deployment):
        return rollout.Limits(replicas, 0, 0)
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    return rollout.limits(replicas, rolling.get("maxSurge"), rolling.get("maxUnavailable"))


def _group(replicaset: Object) -> rollout.Group:
    return rollout.Group(
        name=name_of(replicaset),
        replicas=replicas_of(replicaset),
        available=(replicaset.get("status") or {}).get("availableReplicas", 0),
        annotated_maximum=_number(replicaset, MAXIMUM),
    )


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
    if _is_recreate(deployment):
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
    template = _template(deployment)
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
    status = replicaset.get("status") or {}
    settled = status.get("observedGeneration", 0) >= replicaset["metadata"].get("generation", 0)
    return settled and replicas_of(replicaset) == 0 and not status.get("replicas")


class CreationFailed(Retryable):
    """The new ReplicaSet could not be made; ``cause`` is the server's answer."""

    def __init__(self, cause: ApiError) -> None:
        super().__init__(cause.message)
        self.cause = cause


class DeploymentReconciler:
    """The hand that carries ``plan`` out."""

    name = "deployment"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._events = context.recorder("deployment-controller")
        self._deployments = context.informer(DEPLOYMENTS)
        self._replicasets = context.informer(REPLICASETS)
        self._pods = context.informer(PODS)
        self._writes = context.own_writes(DEPLOYMENTS, REPLICASETS)
        self._workers = Workers(self.name, self.reconcile, writes=self._writes, count=context.settings.workers)
        self._deployments.add_handler(lambda change, obj, old: self._workers.queue.add(key_of(obj)))
        self._replicasets.add_handler(self._replicaset_changed)
        self._pods.add_handler(self._pod_changed)

    async def run(self) -> None:
        """See ``Reconciler``."""
        await self._workers.run()

    def look_again(self) -> None:
        """See ``Reconciler``."""
        for key in self._deployments.all_keys():
            self._workers.queue.add(key)

    async def reconcile(self, key: str) -> Result:
        """Take one step of one Deployment."""
        deployment = self._deployments.get(key)
        if deployment is None:
            return DONE
        selector = from_object(deployment["spec"].get("selector"))
        if selector.is_empty:
            self._events.event(deployment, "Warning", "SelectingAll", _SELECTS_ALL)
            return DONE
        writer = Writer(self._context.client, self._writes, key)
        claim = owners.claim(deployment, children(self._replicasets, deployment), selector)
        await self._settle_claim(deployment, claim, writer)
        now = self._context.clock.time()
        step = plan(deployment, claim.owned, old_pods_run=self._old_pods_run(deployment, claim.owned), now=now)
        status, failure = step.status, None
        try:
            deployment = await self._carry_out(deployment, step, writer)
        except CreationFailed as error:
            # Everything else would be built on the new ReplicaSet, so only the reason is told.
            status, failure = self._explain(deployment, step, error, now), error.cause
        if status != (deployment.get("status") or {}):
            await writer.update(DEPLOYMENTS, {**deployment, "status": status}, subresource="status")
        if failure is not None:
            raise failure
        return Result(progress.seconds_to_deadline(deployment, status, now))

    async def _carry_out(self, deployment: Object, step: Plan, writer: Writer) -> Object:
        """Do all but the status; answers the Deployment as it is afterwards. Raises CreationFailed."""
        if step.create is not None:
            await self._create(deployment, step.create, writer)
        for change in step.patches:
            await writer.patch(REPLICASETS, change.replicaset, change.patch)
            if change.replicas is not None:
                self._tell_scaling(deployment, change.replicaset, change.replicas)
        for replicaset in step.delete:
            await writer.delete(REPLICASETS, replicaset)
        if step.revision:
            patch = {"metadata": {"annotations": {REVISION: step.revision}}}
            deployment = await writer.patch(DEPLOYMENTS, deployment, patch)
        return deployment

    async def _create(self, deployment: Object, wanted: Object, writer: Writer) -> None:
        try:
            made = await writer.create(REPLICASETS, wanted)
        except ApiError as error:
            if error.is_already_exists and await self._is_made(deployment, wanted):
                return
            raise CreationFailed(error) from error
        if replicas_of(made):
            self._tell_scaling(deployment, {**made, "spec": {"replicas": 0}}, replicas_of(made))

    async def _is_made(self, deployment: Object, wanted: Object) -> bool:
        """Whose is the name: True if it is what an earlier try of ours made and we have not seen yet."""
        there = await self._context.client.get(REPLICASETS, name_of(wanted), namespace=namespace_of(wanted))
        ours = owners.controller_uid(there) == uid_of(deployment)
        return ours and same_template(there["spec"]["template"], _template(deployment))

    def _explain(self, deployment: Object, step: Plan, failed: CreationFailed, now: float) -> Object:
        """The status that tells why there is no new ReplicaSet, or that makes the next try choose another name."""
        old: Object = deployment.get("status") or {}
        error = failed.cause
        if error.is_already_exists:
            # Another template has the same hash.
            return {**old, "collisionCount": old.get("collisionCount", 0) + 1}
        if error.is_namespace_terminating:
            return old
        name = name_of(step.create or {})
        message = f'Failed to create new replica set "{name}": {error.message}'
        self._events.event(deployment, "Warning", "ReplicaSetCreateError", message)
        return progress.creation_failed(deployment, step.status, message, now)

    def _tell_scaling(self, deployment: Object, replicaset: Object, size: int) -> None:
        before = replicas_of(replicaset)
        direction = "up" if size > before else "down"
        message = f"Scaled {direction} replica set {name_of(replicaset)} from {before} to {size}"
        self._events.event(deployment, "Normal", "ScalingReplicaSet", message)

    async def _settle_claim(self, deployment: Object, claim: owners.Claim, writer: Writer) -> None:
        if claim.adopt:
            # Our copy may be old: a Deployment that was deleted meanwhile must not take in orphans.
            fresh = await self._context.client.get(
                DEPLOYMENTS, name_of(deployment), namespace=namespace_of(deployment)
            )  # fmt: skip
            if uid_of(fresh) == uid_of(deployment) and "deletionTimestamp" not in fresh["metadata"]:
                reference = owners.controller_reference(deployment, DEPLOYMENTS)
                for replicaset in claim.adopt:
                    await writer.patch(REPLICASETS, replicaset, owners.adoption_patch(replicaset, reference))
        for replicaset in claim.release:
            await writer.patch(REPLICASETS, replicaset, owners.release_patch(replicaset, uid_of(deployment)))

    def _old_pods_run(self, deployment: Object, replicasets: Sequence[Object]) -> bool:
        if not _is_recreate(deployment):
            return False
        old = [one for one in replicasets if not same_template(one["spec"]["template"], _template(deployment))]
        pods = (pod for one in old for pod in self._pods.by_index(BY_CONTROLLER, uid_of(one)))
        return any(not is_finished(pod) for pod in pods)

    def _replicaset_changed(self, change: str, replicaset: Object, old: Object | None) -> None:
        for version in (replicaset, old):
            if version is None:
                continue
            reference = owners.controller_of(version)
            if reference is None:
                self._orphan_changed(version)
            elif reference["kind"] == DEPLOYMENTS.kind:
                self._workers.queue.add(f"{namespace_of(version)}/{reference['name']}")

    def _orphan_changed(self, replicaset: Object) -> None:
        """Somebody may want to adopt it."""
        for deployment in self._deployments.by_index(BY_NAMESPACE, namespace_of(replicaset)):
            if from_object(deployment["spec"].get("selector")).matches(labels_of(replicaset)):
                self._workers.queue.add(key_of(deployment))

    def _pod_changed(self, change: str, pod: Object, old: Object | None) -> None:
        """Only Recreate looks at pods: it waits for the last old one to go."""
        if change != "deleted" and not is_finished(pod):
            return
        reference = owners.controller_of(pod)
        if reference is None or reference["kind"] != REPLICASETS.kind:
            return
        replicaset = self._replicasets.get(f"{namespace_of(pod)}/{reference['name']}")
        owner = owners.controller_of(replicaset) if replicaset else None
        if owner is not None and owner["kind"] == DEPLOYMENTS.kind:
            self._workers.queue.add(f"{namespace_of(pod)}/{owner['name']}")


_SELECTS_ALL = "This deployment is selecting all pods. A non-empty selector is required."
