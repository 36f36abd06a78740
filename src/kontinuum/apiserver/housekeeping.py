"""What a server does by itself from time to time: forget history and Events, take up certificates, return memory."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

import orjson
import structlog

from kontinuum.api.kubernetes.resources import EVENTS, NAMESPACES
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver import listener
from kontinuum.apiserver.context import Context
from kontinuum.apiserver.quota import ledger
from kontinuum.apiserver.selection import Selection
from kontinuum.foundation import memory
from kontinuum.foundation.clock import parse_rfc3339
from kontinuum.store.port import Missing, StaleRevision

log = structlog.get_logger(__name__)

CERTIFICATE_CHECK_SECONDS = 30.0
LEDGER_CHECK_SECONDS = 600.0
MEMORY_CHECK_SECONDS = 2.0


async def compact_history(context: Context) -> None:
    """Every ``compaction_seconds`` forget what was history already the last time. Ends only by cancellation."""
    pause = context.settings.compaction_seconds
    before = await context.store.revision()
    while True:
        await context.clock.sleep(pause)
        now = await context.store.revision()
        if before:
            await context.store.compact(before)
            context.history_begins = before
        before = now


async def return_memory(context: Context) -> None:
    """Give back what connections and large answers have left free. Ends only by cancellation."""
    allocator = memory.glibc()
    if allocator is None:
        return
    freed = memory.Freed(allocator)
    while True:
        await context.clock.sleep(MEMORY_CHECK_SECONDS)
        freed.look()


async def expire_events(context: Context) -> None:
    """Remove Events as they reach ``event_ttl_seconds``. Ends only by cancellation."""
    served = context.served[EVENTS]
    ttl = context.settings.event_ttl_seconds
    while True:
        await context.clock.sleep(ttl / 20)
        now = context.clock.time()
        for entry in list(served.cache.select(Selection())):
            if now - last_seen(orjson.loads(entry.value), now) < ttl:
                continue
            try:
                await context.store.delete(entry.key, expected=entry.revision)
            except (StaleRevision, Missing):
                continue  # It was repeated or removed meanwhile.


async def forget_ledgers(context: Context) -> None:
    """Remove what quotas keep of namespaces that are gone. Ends only by cancellation."""
    while True:
        await context.clock.sleep(LEDGER_CHECK_SECONDS)
        page = await context.store.list(ledger.PREFIX)
        await context.catch_up()
        namespaces = context.served[NAMESPACES]
        for record in page.records:
            if namespaces.cache.get(namespaces.layout.key("", record.key.removeprefix(ledger.PREFIX))) is not None:
                continue
            try:
                await context.store.delete(record.key, expected=record.revision)
            except (StaleRevision, Missing):
                continue  # The namespace is there again, or another server was faster.


async def follow_certificates(context: Context, tls: ssl.SSLContext) -> None:
    """Use renewed certificates for new connections. Ends only by cancellation."""
    settings = context.settings
    wanted = (settings.certificate, settings.key, settings.client_ca, settings.front_proxy_ca)
    files = [path for path in wanted if path is not None]
    known = _changed_at(files)
    while True:
        await context.clock.sleep(CERTIFICATE_CHECK_SECONDS)
        found = _changed_at(files)
        if found == known:
            continue
        try:
            # Tried elsewhere first: a failed load would leave the serving context without its key.
            listener.tls_context(settings)
            listener.load_certificates(tls, settings)
        except listener.ListenRefused as error:
            # Certificate and key are two files; between their replacements they do not match.
            log.warning("the renewed certificates cannot be used yet", reason=str(error))
            continue
        known = found
        log.info("using renewed certificates for new connections")


def _changed_at(files: Sequence[Path]) -> list[int]:
    return [path.stat().st_mtime_ns if path.exists() else 0 for path in files]


def last_seen(event: Object, now: float) -> float:
    """When the Event was last repeated, in seconds since the epoch; or made, if it tells of a time before that.

    An Event may be about what was long ago, and Kubernetes' too lives on from when it was written.
    """
    series, metadata = event.get("series") or {}, event["metadata"]
    told = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    written = (metadata["creationTimestamp"], *(one.get("time") for one in metadata.get("managedFields") or ()))
    moments = [parse_rfc3339(one) for one in (*told, *written) if one]
    return max((one for one in moments if one <= now), default=now)
