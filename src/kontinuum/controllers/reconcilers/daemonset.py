"""DaemonSets: the hand that carries ``lib.daemonsets`` out."""

from __future__ import annotations

from collections.abc import Sequence

from kontinuum.api.kubernetes.resources import CONTROLLERREVISIONS, DAEMONSETS, NODES, PODS
from kontinuum.api.machinery.objects import Object, key_of, labels_of, name_of
from kontinuum.api.machinery.selectors import from_object
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.shapes import MADE
from kontinuum.client.writes import Writer
from kontinuum.controllers.adoption import settle_claim
from kontinuum.controllers.context import Context, children
from kontinuum.controllers.frame import OwnerReconciler
from kontinuum.controllers.history import HashCollision, count_collision, forget_surplus, keep_history
from kontinuum.controllers.lib import daemonsets, owners
from kontinuum.controllers.lib.batches import slow_start
from kontinuum.controllers.lib.daemonsets import Plan
from kontinuum.controllers.lib.names import FreshNames
from kontinuum.controllers.lib.revisions import HASH_LABEL, History, twins
from kontinuum.controllers.naming import TakenNames
from kontinuum.foundation.backoff import Backoff

SELECTS_ALL = "This daemon set is selecting all pods. A non-empty selector is required."
FAILED_AGAIN = Backoff(initial=1.0, maximum=900.0, jitter=0.0)
"""A daemon that fails on a node at once is not started there as fast as the API allows (Kubernetes' 1 s to 15 min)."""


class DaemonSetReconciler(OwnerReconciler):
    """See the module."""

    name = "daemonset"

    def __init__(self, context: Context) -> None:
        super().__init__(context, DAEMONSETS, PODS, writes=(PODS, DAEMONSETS, CONTROLLERREVISIONS))
        self._events = context.recorder("daemonset-controller")
        self._nodes = context.informer(NODES)
        self._revisions = context.informer(CONTROLLERREVISIONS)
        self._names = TakenNames(self._children, DAEMONSETS.kind)
        self._failures: dict[str, dict[str, tuple[int, float]]] = {}
        """By set and node: how often its pod has failed, and when the next one may be replaced (monotonic)."""
        self._nodes.add_handler(self._node_changed)

    async def reconcile(self, key: str) -> Result:
        """Bring one DaemonSet's pods and status to what its nodes ask for."""
        daemonset = self._objects.get(key)
        if daemonset is None:
            self._failures.pop(key, None)
            return DONE
        selector = from_object(daemonset["spec"].get("selector"))
        if selector.is_empty:
            self._events.event(daemonset, "Warning", "SelectingAll", SELECTS_ALL)
            return DONE
        writer = Writer(self._client, self._writes, key)
        claim = owners.claim(daemonset, children(self._children, daemonset), selector)
        await settle_claim(self._client, writer, daemonset, DAEMONSETS, claim, PODS)
        try:
            history = await keep_history(self._client, writer, daemonset, DAEMONSETS, self._revisions)
        except HashCollision:
            await count_collision(writer, daemonset, DAEMONSETS)
            return DONE
        revision = labels_of(history.update)[HASH_LABEL]
        owned = await _merge_twins(writer, history, claim.owned)
        now = self._context.clock.time()
        nodes = [node for name in sorted(self._nodes.all_keys()) if (node := self._nodes.get(name)) is not None]
        names = FreshNames(self._names.beside(daemonset))
        step = daemonsets.plan(daemonset, nodes, owned, revision, names, now)
        wait, failure = await self._carry_out(daemonset, step, writer)
        status = daemonsets.status(daemonset, nodes, owned, revision, now)
        if status != (daemonset.get("status") or {}):
            await writer.update(DAEMONSETS, {**daemonset, "status": status}, subresource="status")
        hashes = {revision, *(labels_of(pod).get(HASH_LABEL, "") for pod in owned)}
        used = [name_of(one) for one in history.revisions if labels_of(one).get(HASH_LABEL) in hashes]
        await forget_surplus(writer, daemonset, history, used)
        if failure is not None:
            raise failure
        return Result(min((one for one in (wait, step.look_after) if one is not None), default=None))

    async def _carry_out(
        self, daemonset: Object, step: Plan, writer: Writer
    ) -> tuple[float | None, ApiError | None]:  # fmt: skip
        """Answers when a failed pod may be replaced, and the error that ended the work."""

        async def create(pod: Object) -> None:
            try:
                await writer.create(PODS, pod, shape=MADE)
            except ApiError as error:
                if error.is_already_exists:
                    return
                self._events.event(daemonset, "Warning", "FailedCreate", f"Error creating: {error.message}")
                raise
            self._events.event(daemonset, "Normal", "SuccessfulCreate", f"Created pod: {name_of(pod)}")

        async def delete(pod: Object) -> None:
            await writer.delete(PODS, pod)
            self._events.event(daemonset, "Normal", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")

        due, wait = self._due(daemonset, step)
        try:
            for pod in due:
                text = f"Found failed daemon pod {key_of(pod)} on node {_node(pod)}, will try to kill it"
                self._events.event(daemonset, "Warning", "FailedDaemonPod", text)
            for pod in step.finished:
                text = f"Found succeeded daemon pod {key_of(pod)} on node {_node(pod)}, will try to delete it"
                self._events.event(daemonset, "Normal", "SucceededDaemonPod", text)
            await slow_start([*step.delete, *due, *step.finished], delete)
            await slow_start(step.create, create)
        except ApiError as error:
            return wait, None if error.is_namespace_terminating else error
        return wait, None

    def _due(self, daemonset: Object, step: Plan) -> tuple[list[Object], float | None]:
        """Failed pods that have waited long enough, and the seconds until the next one has."""
        now = self._context.clock.monotonic()
        failures = self._failures.setdefault(key_of(daemonset), {}) if step.failed else {}
        due: list[Object] = []
        waits: list[float] = []
        for pod in step.failed:
            count, until = failures.get(_node(pod), (0, 0.0))
            if until > now:
                waits.append(until - now)
                continue
            due.append(pod)
            failures[_node(pod)] = (count + 1, now + FAILED_AGAIN.delay(count))
        return due, min(waits, default=None)

    def _node_changed(self, change: str, node: Object, old: Object | None) -> None:
        """Heartbeats change nothing that a daemon depends on."""
        if old is not None and change == "updated" and _facts(node) == _facts(old):
            return
        self.look_again()


async def _merge_twins(writer: Writer, history: History, pods: Sequence[Object]) -> list[Object]:
    """The pods, those of the update's older twins being the update's from here on; nothing runs anew for a name.

    First the pods: who is stopped in between finds the twin again, and goes on.
    """
    found = twins(history)
    kept = labels_of(history.update)[HASH_LABEL]
    merged = {labels_of(one).get(HASH_LABEL) for one in found} - {kept}
    label = {"metadata": {"labels": {HASH_LABEL: kept}}}
    after = [await writer.patch(PODS, pod, label) if labels_of(pod).get(HASH_LABEL) in merged else pod for pod in pods]
    for twin in found:
        await writer.delete(CONTROLLERREVISIONS, twin)
        history.revisions.remove(twin)
    return after


def _facts(node: Object) -> tuple[object, object]:
    return labels_of(node), (node.get("spec") or {}).get("taints") or []


def _node(pod: Object) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or "")
