"""Jobs: the hand that carries ``lib.jobs`` out."""

from __future__ import annotations

from collections.abc import Iterable

from kontinuum.api.kubernetes.resources import JOBS, PODS
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.selectors import from_object
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.shapes import MADE
from kontinuum.client.writes import Writer
from kontinuum.controllers.adoption import settle_claim
from kontinuum.controllers.context import BY_NAMESPACE, Context, children
from kontinuum.controllers.frame import OwnerReconciler
from kontinuum.controllers.lib import job_pods, jobs, owners
from kontinuum.controllers.lib.batches import slow_start
from kontinuum.controllers.lib.jobs import Plan
from kontinuum.controllers.lib.names import FreshNames
from kontinuum.controllers.naming import TakenNames

OUR_NAME = "kubernetes.io/job-controller"


class JobReconciler(OwnerReconciler):
    """See the module."""

    name = "job"

    def __init__(self, context: Context) -> None:
        super().__init__(context, JOBS, PODS, writes=(PODS, JOBS))
        self._events = context.recorder("job-controller")
        self._names = TakenNames(self._children, JOBS.kind)

    def look_again(self) -> None:
        """See ``Reconciler``."""
        super().look_again()
        for key in self._children.all_keys():
            pod = self._children.get(key)
            if pod is not None and job_pods.is_tracked(pod):
                self._child_changed("updated", pod, None)

    async def reconcile(self, key: str) -> Result:
        """Take one step of one Job."""
        job = self._objects.get(key)
        writer = Writer(self._client, self._writes, key)
        if job is None:
            await self._let_go(self._orphans(key), writer)
            return DONE
        if job["spec"].get("managedBy") not in (None, OUR_NAME):
            return DONE
        claim = owners.claim(job, children(self._children, job), from_object(job["spec"].get("selector")))
        # First, because a pod that is no longer ours would keep our finalizer.
        await self._let_go(claim.release, writer)
        await settle_claim(self._client, writer, job, JOBS, claim, PODS)
        if jobs.is_finished(job) or "deletionTimestamp" in job["metadata"]:
            await self._let_go(claim.owned, writer)
            return DONE
        names = FreshNames(self._names.beside(job))
        todo = jobs.plan(job, claim.owned, names, self._context.clock.time())
        failure = await self._carry_out(job, todo, writer)
        if todo.status != (job.get("status") or {}):
            await writer.update(JOBS, {**job, "status": todo.status}, subresource="status")
        for kind, reason, message in todo.events:
            self._events.event(job, kind, reason, message)
        await self._let_go(todo.let_go, writer)
        if failure is not None:
            raise failure
        return Result(todo.look_after)

    async def _carry_out(self, job: Object, todo: Plan, writer: Writer) -> ApiError | None:
        """Answers the error that ended it; then fewer pods are active than the status was to say."""
        made = 0

        async def create(pod: Object) -> None:
            nonlocal made
            try:
                await writer.create(PODS, pod, shape=MADE)
            except ApiError as error:
                if not error.is_already_exists:
                    self._events.event(job, "Warning", "FailedCreate", f"Error creating: {error.message}")
                    raise
                made += 1
                return
            made += 1
            self._events.event(job, "Normal", "SuccessfulCreate", f"Created pod: {name_of(pod)}")

        async def delete(pod: Object) -> None:
            await writer.delete(PODS, pod)
            self._events.event(job, "Normal", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")

        try:
            await self._let_go(todo.dismiss, writer)
            await slow_start([*todo.dismiss, *todo.delete], delete)
            await slow_start(todo.create, create)
        except ApiError as error:
            todo.status["active"] = todo.status.get("active", 0) - (len(todo.create) - made)
            if not todo.status["active"]:
                del todo.status["active"]
            return None if error.is_namespace_terminating else error
        return None

    async def _let_go(self, pods: Iterable[Object], writer: Writer) -> None:
        """Take our finalizer off; a pod that is gone, or that changed meanwhile, is looked at again when we hear so."""
        for pod in pods:
            if not job_pods.is_tracked(pod):
                continue
            try:
                await writer.patch(PODS, pod, job_pods.without_finalizer(pod))
            except ApiError as error:
                if not error.is_not_found and not error.is_conflict:
                    raise

    def _orphans(self, key: str) -> list[Object]:
        """Pods of a Job that is gone: nobody will count them, and nobody else takes the finalizer off."""
        namespace, _, name = key.partition("/")
        return [pod for pod in self._children.by_index(BY_NAMESPACE, namespace) if _job_of(pod) == name]


def _job_of(pod: Object) -> str:
    """The name of the Job that controls the pod, "" if none does."""
    reference = owners.controller_of(pod)
    return str(reference["name"]) if reference is not None and reference["kind"] == JOBS.kind else ""
