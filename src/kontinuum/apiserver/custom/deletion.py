"""The end of a CustomResourceDefinition: all its objects are deleted first, and their finalizers waited for.

Terminating: InstanceDeletionPending ──▶ InstanceDeletionInProgress ──▶ (no object is left) ──▶ finalizer removed
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import orjson

from kontinuum.api.kubernetes.custom.naming import TERMINATING
from kontinuum.api.kubernetes.kinds.apiextensions import FINALIZER
from kontinuum.api.kubernetes.resources import CUSTOMRESOURCEDEFINITIONS
from kontinuum.api.machinery.conditions import set_condition
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver import lifecycle, storing
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.events import Entry
from kontinuum.apiserver.options import DeleteOptions
from kontinuum.apiserver.selection import Selection
from kontinuum.foundation.clock import rfc3339
from kontinuum.store.port import Missing, StaleRevision

AT_ONCE = 16
"""Deletes under way together; the store commits what comes together as one."""
LOOK_AGAIN_SECONDS = 1.0
"""How long to wait at most before looking again whether all objects are gone."""
IN_PROGRESS = ("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress")
COMPLETED = ("False", "InstanceDeletionCompleted", "removed all instances")
NEVER = ("False", "NeverEstablished", "resource was never established")


async def empty(context: Context, key: str, served: Served | None) -> None:
    """Delete all objects of the definition under ``key``, then let it go. ``served``: one of its versions, if any.

    Raises ApiError, StoreUnavailable.
    """
    if served is None:
        await _report(context, key, NEVER, is_last=True)
        return
    await _report(context, key, IN_PROGRESS)
    while await _has_objects(context, served):
        if context.served[CUSTOMRESOURCEDEFINITIONS].cache.get(key) is None:
            return
        waiting = iter(list(served.cache.select(Selection())))
        await asyncio.gather(*(_delete_all(context, served, waiting) for _ in range(AT_ONCE)))
        await context.catch_up()
        await _wait_change(context, served)
    await _report(context, key, COMPLETED, is_last=True)


async def _has_objects(context: Context, served: Served) -> bool:
    # The store itself is asked: another server may have created something that is not in the cache yet.
    page = await context.store.list(served.layout.prefix, limit=1)
    await context.catch_up()
    return bool(page.records)


async def _wait_change(context: Context, served: Served) -> None:
    """Return when an object has changed, as it does when the last of its finalizers is removed, or after a while."""
    if not len(served.cache):
        return
    watcher = served.cache.watch(Selection(), after=context.feed.applied, limit=1)
    if watcher is None or watcher.ended:
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
        return
    await watcher.wait_events(LOOK_AGAIN_SECONDS)
    served.cache.watchers.discard(watcher)


async def _delete_all(context: Context, served: Served, waiting: Iterator[Entry]) -> None:
    for entry in waiting:
        await _delete(context, served, entry)


async def _delete(context: Context, served: Served, entry: Entry) -> None:
    obj: Object = orjson.loads(entry.value)
    if obj["metadata"].get("deletionTimestamp"):
        return
    now = context.clock.time()
    plan = lifecycle.plan_deletion(obj, DeleteOptions(), now=now, grace_of=served.strategy.grace_of)
    try:
        if plan.is_gone:
            await context.store.delete(entry.key, expected=entry.revision)
        else:
            value = served.layout.encode(plan.obj)
            await context.store.update(entry.key, value, expected=entry.revision)
    except (StaleRevision, Missing):
        pass  # It is looked at again.


async def _report(context: Context, key: str, state: tuple[str, str, str], *, is_last: bool = False) -> None:
    """Say in the definition how far its end is; with ``is_last`` nothing holds it any more."""
    served = context.served[CUSTOMRESOURCEDEFINITIONS]
    while (entry := served.cache.get(key)) is not None:
        definition: Object = orjson.loads(entry.value)
        status, reason, message = state
        now = rfc3339(context.clock.time())
        conditions = set_condition(
            (definition.get("status") or {}).get("conditions"), TERMINATING, status,
            now=now, reason=reason, message=message,
        )  # fmt: skip
        definition["status"] = {**(definition.get("status") or {}), "conditions": conditions}
        if is_last:
            finalizers = [one for one in definition["metadata"].get("finalizers") or () if one != FINALIZER]
            definition["metadata"].pop("finalizers", None)
            if finalizers:
                definition["metadata"]["finalizers"] = finalizers
        try:
            await storing.replace(context, served, entry, definition, dry_run=False)
            return
        except StaleRevision as error:
            await context.catch_up(error.current)
        except Missing:
            return
