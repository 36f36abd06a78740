"""What a server does by itself from time to time: forget old history, and remove Events nobody repeats."""

from __future__ import annotations

import orjson

from kontinuum.api.kubernetes.resources import EVENTS
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.context import Context
from kontinuum.apiserver.selection import Selection
from kontinuum.foundation.clock import parse_rfc3339
from kontinuum.store.port import Missing, StaleRevision


async def compact_history(context: Context) -> None:
    """Every ``compaction_seconds`` forget what was history already the last time. Ends only by cancellation."""
    pause = context.settings.compaction_seconds
    before = await context.store.revision()
    while True:
        await context.clock.sleep(pause)
        now = await context.store.revision()
        if before:
            await context.store.compact(before)
        before = now


async def expire_events(context: Context) -> None:
    """Remove Events as they reach ``event_ttl_seconds``. Ends only by cancellation."""
    served = context.served[EVENTS]
    ttl = context.settings.event_ttl_seconds
    while True:
        await context.clock.sleep(ttl / 20)
        now = context.clock.time()
        for entry in list(served.cache.select(Selection())):
            if now - last_seen(orjson.loads(entry.value)) < ttl:
                continue
            try:
                await context.store.delete(entry.key, expected=entry.revision)
            except (StaleRevision, Missing):
                continue  # It was repeated or removed meanwhile.


def last_seen(event: Object) -> float:
    """When the Event was last repeated, in seconds since the epoch."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    latest = next((one for one in times if one), event["metadata"]["creationTimestamp"])
    return parse_rfc3339(latest)
