"""CronJobs: the hand that carries ``lib.cronjobs`` out.

The Job comes first, the status after it: who dies in between finds the Job, and with it the time that is used up.
"""

from __future__ import annotations

from collections.abc import Sequence

from kontinuum.api.kubernetes.resources import CRONJOBS, JOBS
from kontinuum.api.machinery.objects import Object, key_of, name_of, namespace_of, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.writes import Writer
from kontinuum.controllers.context import BY_CONTROLLER, Context
from kontinuum.controllers.frame import KeyReconciler
from kontinuum.controllers.lib import cronjobs, owners
from kontinuum.controllers.lib.cronjobs import Plan
from kontinuum.controllers.telling import Notices


class CronJobReconciler(KeyReconciler):
    """See the module."""

    name = "cronjob"

    def __init__(self, context: Context) -> None:
        super().__init__(context, CRONJOBS, writes=(CRONJOBS, JOBS))
        self._events = context.recorder("cronjob-controller")
        self._jobs = context.informer(JOBS)
        self._notices = Notices(self._events)
        self._since: dict[str, float] = {}
        """When each key's schedule was last changed: a new schedule means no times before."""
        self._jobs.add_handler(self._job_changed)

    async def reconcile(self, key: str) -> Result:
        """Take one step of one CronJob."""
        cron_job = self._objects.get(key)
        if cron_job is None:
            return DONE
        writer = Writer(self._client, self._writes, key)
        jobs = self._jobs.by_index(BY_CONTROLLER, uid_of(cron_job))
        jobs = [*jobs, *await self._not_heard_of(cronjobs.unseen(cron_job, jobs))]
        todo = cronjobs.plan(cron_job, jobs, self._context.clock.time(), since=self._since.get(key, 0.0))
        failure = await self._start(cron_job, todo, writer)
        if todo.status != (cron_job.get("status") or {}):
            await writer.update(CRONJOBS, {**cron_job, "status": todo.status}, subresource="status")
        self._tell(cron_job, todo)
        for job in todo.forget:
            await self._delete(cron_job, job, writer)
        if failure is not None:
            raise failure
        return Result(todo.look_after)

    async def _not_heard_of(self, references: Sequence[Object]) -> list[Object]:
        """Those of the Jobs that there are; our informer of Jobs may lag behind the one of CronJobs."""
        found = []
        for reference in references:
            try:
                job = await self._client.get(JOBS, reference["name"], namespace=reference["namespace"])
            except ApiError as error:
                if not error.is_not_found:
                    raise
                continue
            if uid_of(job) == reference["uid"]:
                found.append(job)
        return found

    async def _start(self, cron_job: Object, todo: Plan, writer: Writer) -> ApiError | None:
        """Start the Job that is due; answers the error that prevented it. ``todo.status`` says what was done."""
        if todo.start is None:
            return None
        try:
            for reference in todo.replace:
                await self._delete(cron_job, {"metadata": reference}, writer)
                cronjobs.drop_active(todo.status, reference["uid"])
            job = await self._create(cron_job, cronjobs.new_job(cron_job, todo.start), writer)
        except ApiError as error:
            return None if error.is_namespace_terminating else error
        if job is not None:
            cronjobs.count_start(todo, todo.start, job)
        return None

    async def _create(self, cron_job: Object, job: Object, writer: Writer) -> Object | None:
        """The Job as it is now, made by us or by one of us before; None if its name is somebody else's."""
        try:
            made = await writer.create(JOBS, job)
        except ApiError as error:
            if error.is_already_exists:
                found = await self._client.get(JOBS, name_of(job), namespace=namespace_of(job))
                return found if owners.controller_uid(found) == uid_of(cron_job) else None
            if not error.is_namespace_terminating:
                self._events.event(cron_job, "Warning", "FailedCreate", f"Error creating job: {error.message}")
            raise
        self._events.event(cron_job, "Normal", "SuccessfulCreate", f"Created job {name_of(made)}")
        return made

    async def _delete(self, cron_job: Object, job: Object, writer: Writer) -> None:
        try:
            await writer.delete(JOBS, job, propagation="Background")
        except ApiError as error:
            self._events.event(cron_job, "Warning", "FailedDelete", f"Deleted job: {error.message}")
            raise
        self._events.event(cron_job, "Normal", "SuccessfulDelete", f"Deleted job {name_of(job)}")

    def _tell(self, cron_job: Object, todo: Plan) -> None:
        for kind, reason, message in todo.events:
            self._events.event(cron_job, kind, reason, message)
        self._notices.tell(key_of(cron_job), cron_job, todo.notices)

    def _object_changed(self, change: str, obj: Object, old: Object | None) -> None:
        key = key_of(obj)
        if change == "deleted":
            self._notices.forget(key)
            self._since.pop(key, None)
        elif old is not None and _timing(old) != _timing(obj):
            self._since[key] = self._context.clock.time()
        super()._object_changed(change, obj, old)

    def _job_changed(self, change: str, job: Object, old: Object | None) -> None:
        for version in (job, old):
            reference = owners.controller_of(version) if version is not None else None
            if reference is not None and reference["kind"] == CRONJOBS.kind:
                self._workers.queue.add(f"{namespace_of(job)}/{reference['name']}")


def _timing(cron_job: Object) -> tuple[str, str | None]:
    return cron_job["spec"]["schedule"], cron_job["spec"].get("timeZone")
