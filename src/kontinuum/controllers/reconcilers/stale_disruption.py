"""Pods that were to be disrupted and were not: the condition that says so goes back to False (KEP-3329).

Who evicts or preempts a pod says ``DisruptionTarget`` first and deletes it then; if he falls in between, the pod lives
on, and nobody should take a later failure of it for a disruption.
"""

from __future__ import annotations

from kontinuum.api.kubernetes.pod_conditions import with_condition
from kontinuum.api.kubernetes.resources import PODS
from kontinuum.api.machinery.conditions import get_condition
from kontinuum.api.machinery.objects import Object
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.writes import Writer
from kontinuum.controllers.context import Context
from kontinuum.controllers.frame import KeyReconciler
from kontinuum.controllers.lib.pods import is_finished, is_leaving
from kontinuum.foundation.clock import parse_rfc3339, rfc3339

KIND = "DisruptionTarget"
STALE_SECONDS = 120.0
BY_KUBELET = "TerminationByKubelet"
"""A node may take as long as it likes between saying so and the end."""


def stale_at(pod: Object) -> float | None:
    """When the condition is stale, in seconds since the epoch; None: it is none, or means what it says."""
    found = get_condition(pod, KIND)
    if found is None or found["status"] != "True" or found.get("reason") == BY_KUBELET:
        return None
    if is_leaving(pod) or is_finished(pod):
        return None
    return parse_rfc3339(found["lastTransitionTime"]) + STALE_SECONDS


class StaleDisruptionReconciler(KeyReconciler):
    """The hand that takes it back. Keys are pods'."""

    name = "stale-disruption"

    def __init__(self, context: Context) -> None:
        super().__init__(context, PODS, writes=(PODS,))

    def look_again(self) -> None:
        """See ``Reconciler``."""
        for pod in self._objects.items():
            self._object_changed("added", pod, None)

    async def reconcile(self, key: str) -> Result:
        """Look at one pod when its condition becomes stale."""
        pod = self._objects.get(key)
        stale = stale_at(pod) if pod is not None else None
        if pod is None or stale is None:
            return DONE
        now = self._context.clock.time()
        if stale > now:
            return Result(stale - now)
        conditions = with_condition(pod, KIND, False, now=rfc3339(now))
        # The version, because the list is replaced as a whole.
        metadata = {"resourceVersion": pod["metadata"]["resourceVersion"]}
        writer = Writer(self._client, self._writes, key)
        await writer.patch(
            PODS, pod, {"metadata": metadata, "status": {"conditions": conditions}}, subresource="status"
        )
        return DONE

    def _object_changed(self, change: str, obj: Object, old: Object | None) -> None:
        if change != "deleted" and stale_at(obj) is not None:
            super()._object_changed(change, obj, old)
