"""Deployments: from one ReplicaSet to the next, by the strategy that the Deployment asks for.

What to do is decided in ``lib.deployments``; this is the hand that does it and tells people, in Kubernetes' words.
"""

from __future__ import annotations

from collections.abc import Sequence

from kontinuum.api.kubernetes.resources import DEPLOYMENTS, PODS, REPLICASETS
from kontinuum.api.machinery.objects import Object, name_of, namespace_of, uid_of
from kontinuum.api.machinery.selectors import from_object
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.writes import Writer
from kontinuum.controllers.adoption import settle_claim
from kontinuum.controllers.context import BY_CONTROLLER, Context, children
from kontinuum.controllers.frame import OwnerReconciler
from kontinuum.controllers.lib import owners, progress
from kontinuum.controllers.lib.deployments import REVISION, Plan, is_recreate, plan, template_of
from kontinuum.controllers.lib.pods import is_finished
from kontinuum.controllers.lib.progress import replicas_of
from kontinuum.controllers.lib.templates import same_template
from kontinuum.foundation.errors import Retryable

_SELECTS_ALL = "This deployment is selecting all pods. A non-empty selector is required."


class CreationFailed(Retryable):
    """The new ReplicaSet could not be made; ``cause`` is the server's answer."""

    def __init__(self, cause: ApiError) -> None:
        super().__init__(cause.message)
        self.cause = cause


class DeploymentReconciler(OwnerReconciler):
    """The hand that carries ``plan`` out."""

    name = "deployment"

    def __init__(self, context: Context) -> None:
        super().__init__(context, DEPLOYMENTS, REPLICASETS, writes=(DEPLOYMENTS, REPLICASETS))
        self._events = context.recorder("deployment-controller")
        self._pods = context.informer(PODS)
        self._pods.add_handler(self._pod_changed)

    async def reconcile(self, key: str) -> Result:
        """Take one step of one Deployment."""
        deployment = self._objects.get(key)
        if deployment is None:
            return DONE
        selector = from_object(deployment["spec"].get("selector"))
        if selector.is_empty:
            self._events.event(deployment, "Warning", "SelectingAll", _SELECTS_ALL)
            return DONE
        writer = Writer(self._client, self._writes, key)
        claim = owners.claim(deployment, children(self._children, deployment), selector)
        await settle_claim(self._client, writer, deployment, DEPLOYMENTS, claim, REPLICASETS)
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
        there = await self._client.get(REPLICASETS, name_of(wanted), namespace=namespace_of(wanted))
        ours = owners.controller_uid(there) == uid_of(deployment)
        return ours and same_template(there["spec"]["template"], template_of(deployment))

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

    def _old_pods_run(self, deployment: Object, replicasets: Sequence[Object]) -> bool:
        if not is_recreate(deployment):
            return False
        old = [one for one in replicasets if not same_template(one["spec"]["template"], template_of(deployment))]
        pods = (pod for one in old for pod in self._pods.by_index(BY_CONTROLLER, uid_of(one)))
        return any(not is_finished(pod) for pod in pods)

    def _pod_changed(self, change: str, pod: Object, old: Object | None) -> None:
        """Only Recreate looks at pods: it waits for the last old one to go."""
        if change != "deleted" and not is_finished(pod):
            return
        reference = owners.controller_of(pod)
        if reference is None or reference["kind"] != REPLICASETS.kind:
            return
        replicaset = self._children.get(f"{namespace_of(pod)}/{reference['name']}")
        owner = owners.controller_of(replicaset) if replicaset else None
        if owner is not None and owner["kind"] == DEPLOYMENTS.kind:
            self._workers.queue.add(f"{namespace_of(pod)}/{owner['name']}")
