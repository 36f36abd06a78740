"""Jobs with ``ttlSecondsAfterFinished`` go that long after their end (KEP-592)."""

from __future__ import annotations

from kontinuum.api.kubernetes.resources import JOBS
from kontinuum.api.machinery.conditions import get_condition
from kontinuum.api.machinery.objects import Object, name_of, namespace_of
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.writes import Writer
from kontinuum.controllers.context import Context
from kontinuum.controllers.frame import KeyReconciler
from kontinuum.foundation.clock import parse_rfc3339


def due_at(job: Object) -> float | None:
    """When the Job is to go, in seconds since the epoch; None if it is not, or not yet known."""
    seconds = job["spec"].get("ttlSecondsAfterFinished")
    if seconds is None or "deletionTimestamp" in job["metadata"]:
        return None
    for kind in ("Complete", "Failed"):
        condition = get_condition(job, kind)
        if condition is not None and condition["status"] == "True":
            return parse_rfc3339(condition["lastTransitionTime"]) + float(seconds)
    return None


class TimeToLiveReconciler(KeyReconciler):
    """See the module."""

    name = "ttl-after-finished"

    def __init__(self, context: Context) -> None:
        super().__init__(context, JOBS, writes=(JOBS,))

    async def reconcile(self, key: str) -> Result:
        """Delete one Job if its time has come."""
        job = self._objects.get(key)
        due = due_at(job) if job is not None else None
        if job is None or due is None:
            return DONE
        left = due - self._context.clock.time()
        if left > 0:
            return Result(left)
        # Our copy may be old: its user may have given it more time.
        fresh = await self._client.get(JOBS, name_of(job), namespace=namespace_of(job))
        again = due_at(fresh)
        if again is not None and again <= self._context.clock.time():
            writer = Writer(self._client, self._writes, key)
            await writer.delete(JOBS, fresh, propagation="Foreground")
        return DONE
