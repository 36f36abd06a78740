"""Writes into the status of each validating policy what its expressions stumble over, and for which generation."""

from __future__ import annotations

import asyncio

import orjson

from kontinuum.api.kubernetes.resources import VALIDATINGADMISSIONPOLICIES
from kontinuum.api.machinery import managed_fields
from kontinuum.api.machinery.managed_fields import APPLY, Owner
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver import ownership
from kontinuum.apiserver.admission.policies.typechecking import subject_of, warnings_of
from kontinuum.apiserver.context import Context, Served
from kontinuum.foundation.clock import rfc3339
from kontinuum.store.port import Missing, StaleRevision

MANAGER = "validatingadmissionpolicy-status"
"""Who applies the status, in Kubernetes' words."""
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
    reported = marked(served, policy, warnings, now=context.clock.time())
    try:
        await context.store.update(entry.key, served.layout.encode(reported), expected=entry.revision)
    except (StaleRevision, Missing):
        return  # Whoever was faster has made it a change that is looked at next.


def is_due(policy: Object) -> bool:
    """False if this generation has been looked at, by anybody."""
    observed = (policy.get("status") or {}).get("observedGeneration", 0)
    return bool(observed < policy["metadata"].get("generation", 1))


def marked(served: Served, policy: Object, warnings: list[Object], *, now: float) -> Object:
    """``policy`` with the outcome applied to its status; ``now`` in seconds since the epoch."""
    generation = policy["metadata"].get("generation", 1)
    outcome = {"expressionWarnings": warnings} if warnings else {}
    config = {"metadata": {}, "status": {"observedGeneration": generation, "typeChecking": outcome}}
    author = Owner(MANAGER, APPLY, served.resource.api_version, "status", rfc3339(now))
    shape, ignored = served.kind.shape, ownership.reset_fields(served, "status")
    owners = ownership.owners_before_apply(policy, shape, author, ignored=ignored)
    applied = managed_fields.apply(policy, config, shape, owners, author, force=True, ignored=ignored)
    reported = {**policy, "metadata": {**policy["metadata"]}, "status": applied.obj["status"]}
    ownership.write_owners(reported, applied.owners)
    return reported
