"""What disruption budgets say to an eviction (kubernetes ``registry/core/pod/rest/eviction.go``).

A budget is spent before the pod is deleted, by compare-and-swap on its status: of many evictions at once no more pass
than it allows, whichever server they reach. The disruption controller takes the pod off the list once it has gone.
"""

from __future__ import annotations

from dataclasses import replace

import orjson

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.machinery import status
from kontinuum.api.machinery.conditions import is_true, set_condition
from kontinuum.api.machinery.objects import Object, labels_of, name_of, namespace_of
from kontinuum.api.machinery.selectors import from_object
from kontinuum.apiserver.context import Context
from kontinuum.apiserver.events import Entry
from kontinuum.apiserver.options import DeleteOptions
from kontinuum.apiserver.selection import Selection
from kontinuum.apiserver.storing import ATTEMPTS
from kontinuum.foundation.clock import rfc3339
from kontinuum.store.port import Missing, StaleRevision

MOST_DISRUPTED = 2000
"""Pods that a budget's status may list as being evicted."""
STILL_PROCESSED_SECONDS = 10
FREE_PHASES = ("Succeeded", "Failed", "Pending")


async def spend_budget(context: Context, pod: Object, chosen: DeleteOptions) -> DeleteOptions:
    """Charge the pod's budget for its eviction; answers how the pod may be deleted.

    Raises ApiError 403, 409, 429, and 500 if the pod has more than one budget.
    """
    if "deletionTimestamp" in pod["metadata"] or (pod.get("status") or {}).get("phase") in FREE_PHASES:
        return chosen
    for _ in range(ATTEMPTS):
        entry = _budget_of(context, pod)
        if entry is None:
            return chosen
        budget: Object = orjson.loads(entry.value)
        if _is_worthless(pod, budget):
            # Only as it is: should it become ready meanwhile, the budget has a say again.
            return replace(chosen, resource_version=chosen.resource_version or pod["metadata"]["resourceVersion"])
        charged = charge(budget, name_of(pod), now=context.clock.time())
        if chosen.dry_run:
            return chosen
        served = context.served[r.PODDISRUPTIONBUDGETS]
        try:
            await context.store.update(entry.key, served.layout.encode(charged), expected=entry.revision)
            return chosen
        except StaleRevision as error:
            await context.catch_up(error.current)
        except Missing:
            await context.catch_up()
    raise status.conflict(r.PODDISRUPTIONBUDGETS, name_of(budget))


def _budget_of(context: Context, pod: Object) -> Entry | None:
    entries = context.served[r.PODDISRUPTIONBUDGETS].cache.select(Selection(namespace_of(pod)))
    found = [entry for entry in entries if _selects(orjson.loads(entry.value), pod)]
    if len(found) > 1:
        text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise status.ApiError(500, "InternalError", text)
    return found[0] if found else None


def _selects(budget: Object, pod: Object) -> bool:
    selector = (budget.get("spec") or {}).get("selector")
    return selector is not None and from_object(selector).matches(labels_of(pod))


def _is_worthless(pod: Object, budget: Object) -> bool:
    """A pod that is not ready serves nobody, so that its going may cost nothing (KEP-3017)."""
    if is_true(pod, "Ready"):
        return False
    if budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    found = budget.get("status") or {}
    desired = found.get("desiredHealthy") or 0
    return desired > 0 and (found.get("currentHealthy") or 0) >= desired


def charge(budget: Object, pod_name: str, *, now: float) -> Object:
    """The budget with one disruption less. Raises ApiError 403 or 429."""
    name, found = name_of(budget), dict(budget.get("status") or {})
    if (found.get("observedGeneration") or 0) < budget["metadata"].get("generation", 0):
        text = f"The disruption budget {name} is still being processed by the server."
        refusal = status.disruption_budget(text)
        refusal.details["retryAfterSeconds"] = STILL_PROCESSED_SECONDS
        raise refusal
    allowed, disrupted = found.get("disruptionsAllowed") or 0, found.get("disruptedPods") or {}
    if allowed < 0:
        raise status.forbidden(r.PODDISRUPTIONBUDGETS, name, "pdb disruptions allowed is negative")
    if len(disrupted) > MOST_DISRUPTED:
        text = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise status.forbidden(r.PODDISRUPTIONBUDGETS, name, text)
    if allowed == 0:
        needed, healthy = found.get("desiredHealthy") or 0, found.get("currentHealthy") or 0
        text = f"The disruption budget {name} needs {needed} healthy pods and has {healthy} currently"
        raise status.disruption_budget(text)
    found["disruptionsAllowed"] = allowed - 1
    found["disruptedPods"] = {**disrupted, pod_name: rfc3339(now)}
    if found["disruptionsAllowed"] == 0:
        observed = budget["metadata"].get("generation", 0)
        conditions = set_condition(
            found.get("conditions"), "DisruptionAllowed", False, now=rfc3339(now), reason="InsufficientPods",
            observedGeneration=observed,
        )  # fmt: skip
        found["conditions"] = [{"message": "", **one} for one in conditions]
    return {**budget, "status": found}
