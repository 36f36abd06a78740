"""Writes into the status of each validating policy what its expressions stumble over, and for which generation."""

from __future__ import annotations

import asyncio

import orjson

from kontinuum.api.kubernetes.resources import VALIDATINGADMISSIONPOLICIES
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.admission.policies.typechecking import subject_of, warnings_of
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
    if not is_due(policy):
        return
    subject = subject_of(policy["spec"], context.catalog)
    # On a thread, because it may take seconds.
    warnings = await asyncio.to_thread(warnings_of, policy["spec"], subject)
    try:
        await context.store.update(entry.key, served.layout.encode(marked(policy, warnings)), expected=entry.revision)
    except (StaleRevision, Missing):
        return  # Whoever was faster has made it a change that is looked at next.


def is_due(policy: Object) -> bool:
    """False if this generation has been looked at, by anybody."""
    observed = (policy.get("status") or {}).get("observedGeneration", 0)
    return bool(observed < policy["metadata"].get("generation", 1))


def marked(policy: Object, warnings: list[Object]) -> Object:
    """``policy`` with the outcome in its status."""
    outcome = {"expressionWarnings": warnings} if warnings else {}
    generation = policy["metadata"].get("generation", 1)
    status = {**(policy.get("status") or {}), "observedGeneration": generation, "typeChecking": outcome}
    return {**policy, "status": status}
