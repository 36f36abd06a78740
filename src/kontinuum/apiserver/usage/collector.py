"""Asks every node, now and then, what it and its pods have used."""

from __future__ import annotations

import asyncio

import orjson
import structlog
from aiohttp import ClientError, ClientTimeout

from kontinuum.api.kubernetes.resources import NODES
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver import bounded
from kontinuum.apiserver.context import Context
from kontinuum.apiserver.nodes import address_of
from kontinuum.apiserver.selection import Selection
from kontinuum.apiserver.usage.samples import BadSummary, read_summary

log = structlog.get_logger(__name__)

ASK_SECONDS = 10.0
FIRST_SECONDS = 2.0
"""The second question follows the first one sooner than the others, so that there is something to see."""
AT_ONCE = 32
LARGEST_SUMMARY = 32 * 1024 * 1024


async def collect_for_ever(context: Context) -> None:
    """Ends only by cancellation."""
    pause = context.settings.metrics_seconds
    while True:
        await collect_once(context)
        await context.clock.sleep(min(FIRST_SECONDS, pause) if context.usage.is_waiting else pause)


async def collect_once(context: Context) -> None:
    """One question to each node; one that does not answer is passed over."""
    nodes = [orjson.loads(entry.value) for entry in context.served[NODES].cache.select(Selection())]
    few = asyncio.Semaphore(AT_ONCE)

    async def ask(node: Object) -> None:
        async with few:
            await _ask(context, node)

    await asyncio.gather(*(ask(node) for node in nodes))
    context.usage.keep(name_of(node) for node in nodes)


async def _ask(context: Context, node: Object) -> None:
    try:
        url = f"{address_of(node)}/stats/summary"
        headers = {"Accept-Encoding": "identity"}
        async with context.nodes.session().get(url, headers=headers, timeout=ClientTimeout(total=ASK_SECONDS)) as found:
            content = await bounded.read(found.content, LARGEST_SUMMARY)
            if found.status == 200:
                context.usage.add(name_of(node), read_summary(content))
            else:
                log.debug("a node does not tell what it uses", node=name_of(node), code=found.status)
    except (ApiError, ClientError, OSError, TimeoutError, BadSummary, bounded.TooLong) as error:
        log.debug("a node does not tell what it uses", node=name_of(node), reason=str(error))
