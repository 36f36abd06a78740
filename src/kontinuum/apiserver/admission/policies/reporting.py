"""Writes into the status of each validating policy what its expressions stumble over, and for which generation."""

from __future__ import annotations

import orjson

from kontinuum.api.kubernetes.resources import VALIDATINGADMISSIONPOLICIES
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.admission.policies.typechecking import warnings_of
from kontinuum.apiserver.catalog import Catalog
from kontinuum.apiserver.context import Context
from kontinuum.store.port import Missing, StaleRevision

EVERY_SECONDS = 1.0
"""How often changed policies are looked for; looking costs nothing while none has changed."""


async def report_types(context: Context) -> None:
    """Ends only by cancellation. Raises StoreFull, StoreUnavailable."""
    changed = context.served[VALIDATINGADMISSIONPOLICIES].cache.follow()
    while True:
        while changed:
            await _report(context, changed.pop())
        await context.clock.sleep(EVERY_SECONDS)


async def _report(context: Context, key: str) -> None:
    served = context.served[VALIDATINGADMISSIONPOLICIES]
    entry = served.cache.get(key)
    if entry is None:
        return
    policy: Object = orjson.loads(entry.value)
    new = checked(policy, context.catalog)
    if new is policy:
        return
    try:
        await context.store.update(entry.key, served.layout.encode(new), expected=entry.revision)
    except (StaleRevision, Missing):
        return  # Whoever was faster has made it a change that is looked at next.


def checked(policy: Object, catalog: Catalog) -> Object:
    """``policy`` with the outcome in its status; itself if this generation has been looked at, by anybody."""
    generation, status = policy["metadata"].get("generation", 1), policy.get("status") or {}
    if status.get("observedGeneration", 0) >= generation:
        return policy
    warnings = warnings_of(policy["spec"], catalog)
    outcome = {"expressionWarnings": warnings} if warnings else {}
    return {**policy, "status": {**status, "observedGeneration": generation, "typeChecking": outcome}}
