"""PodDisruptionBudgets: how many of their pods may go now (kubernetes ``pkg/controller/disruption``).

The API server spends a budget; this controller says how large it is, and notices when a pod did not go after all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kontinuum.api.kubernetes.resources import (
    DEPLOYMENTS,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    STATEFULSETS,
)
from kontinuum.api.machinery.conditions import set_condition
from kontinuum.api.machinery.objects import Object, labels_of, name_of, namespace_of, uid_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.selectors import from_object
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.writes import Writer
from kontinuum.controllers.context import Context, selected
from kontinuum.controllers.frame import KeyReconciler
from kontinuum.controllers.lib import owners
from kontinuum.controllers.lib.pods import is_finished, is_leaving, is_ready
from kontinuum.foundation.clock import parse_rfc3339, rfc3339

DELETION_SECONDS = 120.0
"""An evicted pod that is still there after this time was not deleted, and counts again."""
SCALED: tuple[Resource, ...] = (REPLICASETS, REPLICATIONCONTROLLERS, STATEFULSETS)


@dataclass(frozen=True, slots=True)
class Expectation:
    """How many pods there should be, and how many of them healthy; ``problem`` says why that is not known."""

    expected: int = 0
    desired: int = 0
    problem: str = ""


def expectation(budget: Object, pods: Sequence[Object], scale_of: Callable[[Object], int | str]) -> Expectation:
    """``scale_of`` answers the replicas that a pod's controller wants, with a pod of it, or why there is no answer."""
    spec = budget["spec"]
    if spec.get("maxUnavailable") is not None:
        expected = _expected(pods, scale_of)
        if isinstance(expected, str):
            return Expectation(problem=expected)
        return Expectation(expected, max(0, expected - _amount(spec["maxUnavailable"], expected)))
    wanted = spec.get("minAvailable")
    if wanted is None or isinstance(wanted, int):
        return Expectation(len(pods), wanted or 0)
    expected = _expected(pods, scale_of)
    if isinstance(expected, str):
        return Expectation(problem=expected)
    return Expectation(expected, _amount(wanted, expected))


def _expected(pods: Sequence[Object], scale_of: Callable[[Object], int | str]) -> int | str:
    """The replicas of all the pods' controllers together."""
    scales: dict[str, int] = {}
    for pod in pods:
        reference = owners.controller_of(pod)
        if reference is None:
            return f'found no controller ref for pod "{name_of(pod)}"'
        if reference["uid"] not in scales:
            scale = scale_of(pod)
            if isinstance(scale, str):
                return scale
            scales[reference["uid"]] = scale
    return sum(scales.values())


def _amount(value: int | str, of: int) -> int:
    """A number, or a share that rounds up."""
    if isinstance(value, str):
        return math.ceil(of * int(value.removesuffix("%")) / 100)
    return int(value)


def disrupted(budget: Object, pods: Sequence[Object], now: float) -> tuple[dict[str, str], list[Object], float | None]:
    """Pods whose going has been granted and is still to come; those that did not go; and when to look again."""
    by_name = {name_of(pod): pod for pod in pods}
    left: dict[str, str] = {}
    overdue: list[Object] = []
    waits: list[float] = []
    for name, granted in ((budget.get("status") or {}).get("disruptedPods") or {}).items():
        pod = by_name.get(name)
        if pod is None or is_leaving(pod):
            continue
        wait = parse_rfc3339(granted) + DELETION_SECONDS - now
        if wait <= 0:
            overdue.append(pod)
            continue
        left[name] = granted
        waits.append(wait)
    return left, overdue, min(waits, default=None)


def status(budget: Object, wanted: Expectation, pods: Sequence[Object], waiting: dict[str, str], now: float) -> Object:
    """What the budget allows, given the pods that it is about."""
    old = budget.get("status") or {}
    generation = budget["metadata"].get("generation", 0)
    healthy = sum(is_ready(pod) and not is_leaving(pod) and name_of(pod) not in waiting for pod in pods)
    allowed = max(0, healthy - wanted.desired) if wanted.expected > 0 else 0
    if wanted.problem:
        reason, allowed = "SyncFailed", 0
    else:
        reason = "SufficientPods" if allowed > 0 else "InsufficientPods"
    found: Object = {
        "currentHealthy": healthy,
        "desiredHealthy": wanted.desired,
        "expectedPods": wanted.expected,
        "disruptionsAllowed": allowed,
        "observedGeneration": generation,
    }
    if waiting:
        found["disruptedPods"] = waiting
    conditions = set_condition(
        old.get("conditions"), "DisruptionAllowed", allowed > 0, now=rfc3339(now), reason=reason,
        message=wanted.problem, observedGeneration=generation,
    )  # fmt: skip
    # An API server writes an empty message too; without it the status would never be what is stored.
    found["conditions"] = [{"message": "", **one} for one in conditions]
    return found


class DisruptionReconciler(KeyReconciler):
    """The hand that writes the status."""

    name = "disruption"

    def __init__(self, context: Context) -> None:
        super().__init__(context, PODDISRUPTIONBUDGETS, writes=(PODDISRUPTIONBUDGETS,))
        self._events = context.recorder("controllermanager")
        self._pods = context.informer(PODS)
        self._deployments = context.informer(DEPLOYMENTS)
        self._scaled = {resource.kind: context.informer(resource) for resource in SCALED}
        self._pods.add_handler(self._pod_changed)
        for informer in (self._deployments, *self._scaled.values()):
            informer.add_handler(self._scale_changed)

    async def reconcile(self, key: str) -> Result:
        """Bring one budget's status to what its pods are."""
        budget = self._objects.get(key)
        if budget is None:
            return DONE
        pods = self._pods_of(budget)
        now = self._context.clock.time()
        wanted = expectation(budget, pods, self._scale_of)
        waiting, overdue, wait = disrupted(budget, pods, now)
        for pod in overdue:
            self._events.event(pod, "Warning", "NotDeleted", "Pod was expected by PDB to be deleted but it wasn't")
        if not pods:
            self._events.event(budget, "Normal", "NoPods", "No matching pods found")
        if wanted.problem:
            text = f"Failed to calculate the number of expected pods: {wanted.problem}"
            self._events.event(budget, "Warning", "CalculateExpectedPodCountFailed", text)
        found = status(budget, wanted, pods, waiting, now)
        if found != (budget.get("status") or {}):
            writer = Writer(self._client, self._writes, key)
            await writer.update(PODDISRUPTIONBUDGETS, {**budget, "status": found}, subresource="status")
        return Result(wait)

    def _pods_of(self, budget: Object) -> list[Object]:
        """Those that it selects and that have not ended; a budget without a selector is about nobody."""
        selector = budget["spec"].get("selector")
        if selector is None:
            return []
        found = selected(self._pods, namespace_of(budget), from_object(selector))
        return [pod for pod in found if not is_finished(pod)]

    def _scale_of(self, pod: Object) -> int | str:
        """What the pod's controller wants; of a Deployment's ReplicaSet, what the Deployment wants."""
        reference = owners.controller_of(pod) or {}
        informer = self._scaled.get(reference.get("kind", ""))
        found = informer.get(f"{namespace_of(pod)}/{reference['name']}") if informer is not None else None
        if found is None or uid_of(found) != reference["uid"]:
            group = reference.get("apiVersion", "").partition("/")[0]
            return f"{reference.get('kind', '').lower()}s.{group} does not implement the scale subresource"
        above = owners.controller_of(found)
        if above is not None and above["kind"] == DEPLOYMENTS.kind:
            deployment = self._deployments.get(f"{namespace_of(pod)}/{above['name']}")
            found = deployment if deployment is not None else found
        replicas = found["spec"].get("replicas")
        return 1 if replicas is None else int(replicas)

    def _pod_changed(self, change: str, pod: Object, old: Object | None) -> None:
        versions = [one for one in (pod, old) if one is not None]
        for key in self._objects.all_keys():
            if not key.startswith(f"{namespace_of(pod)}/"):
                continue
            budget = self._objects.get(key)
            selector = budget["spec"].get("selector") if budget is not None else None
            if selector is not None and any(from_object(selector).matches(labels_of(one)) for one in versions):
                self._workers.queue.add(key)

    def _scale_changed(self, change: str, owner: Object, old: Object | None) -> None:
        if old is not None and owner["spec"].get("replicas") == old["spec"].get("replicas"):
            return
        for key in self._objects.all_keys():
            if key.startswith(f"{namespace_of(owner)}/"):
                self._workers.queue.add(key)
