"""ReplicaSets and ReplicationControllers: as many active pods as ``spec.replicas`` says, no more and no fewer.

The two are one thing with two names; only how they select pods differs (Kubernetes' own replication controller is its
ReplicaSet controller behind an adapter).

Pods have names that follow from the ReplicaSet and a number (``child_name``): whoever creates "pod number 2" twice,
after a crash, a lost answer or beside a second controller, has created it once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kontinuum.api.kubernetes.resources import PODS, REPLICASETS, REPLICATIONCONTROLLERS
from kontinuum.api.machinery.conditions import remove_condition, set_condition
from kontinuum.api.machinery.objects import Object, labels_of, name_of, namespace_of, uid_of
from kontinuum.api.machinery.selectors import LabelSelector, from_object
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.shapes import MADE
from kontinuum.client.writes import Writer
from kontinuum.controllers.adoption import settle_claim
from kontinuum.controllers.context import BY_CONTROLLER, Context, children, has_orphans, standings
from kontinuum.controllers.frame import OwnerReconciler
from kontinuum.controllers.lib import owners
from kontinuum.controllers.lib.batches import slow_start
from kontinuum.controllers.lib.names import child_name
from kontinuum.controllers.lib.pods import Standing, deletion_order, is_active, standing_of
from kontinuum.controllers.lib.templates import pod_from_template
from kontinuum.controllers.naming import TakenNames
from kontinuum.foundation.clock import rfc3339

BURST = 500
"""Pods that one decision creates or deletes at most, so that one huge ReplicaSet does not starve the others."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is missing and what is too much, in the order in which it should be done."""

    create: list[Object]
    delete: list[Object]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a plan could not be carried out: the condition's ``reason`` and the server's error."""

    reason: str
    error: ApiError


def plan(
    replicaset: Object,
    owned: Sequence[Object],
    related: Sequence[Object],
    *,
    reference: Object,
    is_taken: Callable[[str], bool],
    now: float,
) -> Plan:
    """Which pods to create or delete. ``related`` are the active pods of sibling ReplicaSets (for the ranking);

    ``reference`` makes a new pod ours; ``is_taken`` says whether a pod of that name exists in the namespace, whoever
    owns it.
    """
    active = [pod for pod in owned if is_active(pod)]
    surplus = len(active) - replicas_of(replicaset)
    if "deletionTimestamp" in replicaset["metadata"] or surplus == 0:
        return Plan([], [])
    if surplus > 0:
        return Plan([], deletion_order(active, related, now)[: min(surplus, BURST)])
    return Plan(_new_pods(replicaset, reference, min(-surplus, BURST), is_taken), [])


def replicas_of(replicaset: Object) -> int:
    """How many pods are wanted: 1 when nothing is said."""
    replicas = replicaset["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def is_as_wanted(replicaset: Object, owned: Sequence[Standing], selector: LabelSelector) -> bool:
    """Whether there is nothing to create, delete or release among the pods that it has."""
    if "deletionTimestamp" in replicaset["metadata"]:
        return False
    if sum(pod.is_active for pod in owned) != replicas_of(replicaset):
        return False
    return all(selector.matches(dict(labels)) for labels in {pod.labels for pod in owned})


def status(
    replicaset: Object,
    owned: Sequence[Standing],
    failure: Failure | None,
    now: float,
    *,
    tells_of_terminating: bool = True,
) -> Object:
    """The status that the pods of ``owned`` amount to. ``tells_of_terminating``: KEP-3973, not for the older kind."""
    spec, old = replicaset["spec"], replicaset.get("status") or {}
    active = [pod for pod in owned if pod.is_active]
    template_labels = (spec.get("template", {}).get("metadata") or {}).get("labels") or {}
    labelled = Counter(pod.labels for pod in active)
    minimum = spec.get("minReadySeconds") or 0
    waits = [pod.seconds_until_available(minimum, now) for pod in active]
    counts = {
        "fullyLabeledReplicas": sum(count for one, count in labelled.items() if template_labels.items() <= set(one)),
        "readyReplicas": sum(wait is not None for wait in waits),
        "availableReplicas": sum(wait == 0 for wait in waits),
    }
    new: Object = {"replicas": len(active), **{name: count for name, count in counts.items() if count}}
    if tells_of_terminating:
        new["terminatingReplicas"] = sum(pod.is_terminating for pod in owned)
    new["observedGeneration"] = replicaset["metadata"].get("generation", 0)
    conditions = remove_condition(old.get("conditions"), "ReplicaFailure")
    if failure is not None:
        conditions = set_condition(
            old.get("conditions"),
            "ReplicaFailure",
            True,
            now=rfc3339(now),
            reason=failure.reason,
            message=failure.error.message,
        )
    return new | ({"conditions": conditions} if conditions else {})


def next_look(replicaset: Object, owned: Sequence[Standing], now: float) -> Result:
    """When the next ready pod will have been ready for long enough to count as available."""
    minimum = replicaset["spec"].get("minReadySeconds") or 0
    waits = [pod.seconds_until_available(minimum, now) for pod in owned if pod.is_active]
    return Result(min((wait for wait in waits if wait), default=None))


def _new_pods(replicaset: Object, reference: Object, count: int, is_taken: Callable[[str], bool]) -> list[Object]:
    pods: list[Object] = []
    ordinal = 0
    while len(pods) < count:
        name = child_name(name_of(replicaset), uid_of(replicaset), ordinal)
        ordinal += 1
        if not is_taken(name):
            pods.append(pod_from_template(replicaset["spec"]["template"], replicaset, reference, name))
    return pods


class ReplicaSetReconciler(OwnerReconciler):
    """The hand that carries ``plan`` out."""

    name = "replicaset"
    resource = REPLICASETS
    component = "replicaset-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context, self.resource, PODS, writes=(PODS, self.resource))
        self._events = context.recorder(self.component)
        self._names = TakenNames(self._children, self.resource.kind)

    @staticmethod
    def selector_of(replicaset: Object) -> LabelSelector:
        return from_object(replicaset["spec"]["selector"])

    async def reconcile(self, key: str) -> Result:
        """Bring one ReplicaSet's pods and status to what they should be."""
        replicaset = self._objects.get(key)
        if replicaset is None:
            return DONE
        writer = Writer(self._client, self._writes, key)
        now = self._context.clock.time()
        owned, failure = standings(self._children, replicaset), None
        # Hundreds of pods report that they run, and none of these reports is worth decoding all of them.
        if has_orphans(self._children, namespace_of(replicaset)) or not is_as_wanted(
            replicaset, owned, self.selector_of(replicaset)
        ):
            owned, failure = await self._bring_about(replicaset, writer, now)
        new_status = status(replicaset, owned, failure, now, tells_of_terminating=self.resource is REPLICASETS)
        if new_status != (replicaset.get("status") or {}):
            await writer.update(self.resource, {**replicaset, "status": new_status}, subresource="status")
        if failure is not None:
            raise failure.error
        return next_look(replicaset, owned, now)

    async def _bring_about(
        self, replicaset: Object, writer: Writer, now: float
    ) -> tuple[list[Standing], Failure | None]:  # fmt: skip
        """Adopt, release, create and delete; answers what the pods counted for before."""
        claim = owners.claim(replicaset, children(self._children, replicaset), self.selector_of(replicaset))
        await settle_claim(self._client, writer, replicaset, self.resource, claim, PODS)
        related = self._related(replicaset, claim.owned)
        reference = owners.controller_reference(replicaset, self.resource)
        is_taken = self._names.beside(replicaset)
        todo = plan(replicaset, claim.owned, related, reference=reference, is_taken=is_taken, now=now)
        failure = await self._carry_out(replicaset, todo, writer)
        return [standing_of(pod) for pod in claim.owned], failure

    async def _carry_out(self, replicaset: Object, todo: Plan, writer: Writer) -> Failure | None:
        """Create and delete; a refusal becomes an event and a condition, because people must see it."""

        async def create(pod: Object) -> None:
            try:
                made = await writer.create(PODS, pod, shape=MADE)
            except ApiError as error:
                if error.is_already_exists:
                    # We made it before and have not seen it yet.
                    return
                raise
            self._events.event(replicaset, "Normal", "SuccessfulCreate", f"Created pod: {name_of(made)}")

        async def delete(pod: Object) -> None:
            await writer.delete(PODS, pod)
            self._events.event(replicaset, "Normal", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")

        try:
            await slow_start(todo.create, create)
            await slow_start(todo.delete, delete)
        except ApiError as error:
            if error.is_namespace_terminating:
                return None
            reason, doing = ("FailedCreate", "creating") if todo.create else ("FailedDelete", "deleting")
            self._events.event(replicaset, "Warning", reason, f"Error {doing}: {error.message}")
            return Failure(reason, error)
        return None

    def _related(self, replicaset: Object, owned: Sequence[Object]) -> list[Object]:
        """Active pods of all ReplicaSets with the same owner (of one Deployment, old and new), if some must go."""
        if sum(is_active(pod) for pod in owned) <= replicas_of(replicaset):
            return []
        owner = owners.controller_uid(replicaset)
        siblings = self._objects.by_index(BY_CONTROLLER, owner) if owner else [replicaset]
        pods = (pod for sibling in siblings for pod in self._children.by_index(BY_CONTROLLER, uid_of(sibling)))
        return [pod for pod in pods if is_active(pod)]

    def _wants(self, owner: Object, orphan: Object) -> bool:
        return self.selector_of(owner).matches(labels_of(orphan))


class ReplicationControllerReconciler(ReplicaSetReconciler):
    """The same for the older kind."""

    name = "replicationcontroller"
    resource = REPLICATIONCONTROLLERS
    component = "replication-controller"

    @staticmethod
    def selector_of(replicaset: Object) -> LabelSelector:
        # Without a selector of its own it means the pods that its template makes.
        spec = replicaset["spec"]
        labels = spec.get("selector") or (spec["template"].get("metadata") or {}).get("labels") or {}
        return from_object({"matchLabels": labels})
