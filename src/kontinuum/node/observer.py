"""Notices what changes in the runtime by itself, and what runs there that nobody wants.

containerd 1.6 has no event stream over the CRI, so its two cheap List calls are asked again and again: often while
things happen, seldom while they do not. A worker's own actions do not wait for this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Retryable
from kontinuum.node.port import ContainerRuntime, Fingerprint

log = structlog.get_logger(__name__)

BUSY_SECONDS = 0.25
BUSY_ROUNDS = 12
"""How many rounds after a change are still asked quickly."""

Changed = Callable[[str, Fingerprint], None]
"""Told the pod's UID and its newest fingerprint (with no states once nothing is left)."""


async def observe(runtime: ContainerRuntime, clock: Clock, *, idle_seconds: float, changed: Changed) -> None:
    """Call ``changed`` for every pod whose parts changed state, until cancelled. The first round tells of all."""
    before: Mapping[str, Fingerprint] = {}
    busy = 0
    while True:
        try:
            now = await runtime.fingerprints()
        except Retryable as error:
            log.info("the runtime cannot be asked what runs", error=str(error))
            await clock.sleep(idle_seconds)
            continue
        differing = difference(before, now)
        for uid, fingerprint in differing.items():
            changed(uid, fingerprint)
        before = now
        busy = BUSY_ROUNDS if differing else max(0, busy - 1)
        await clock.sleep(min(BUSY_SECONDS, idle_seconds) if busy else idle_seconds)


def difference(before: Mapping[str, Fingerprint], now: Mapping[str, Fingerprint]) -> dict[str, Fingerprint]:
    """The newest fingerprint of every pod that changed; of one that vanished, an empty one."""
    changed = {uid: one for uid, one in now.items() if before.get(uid) != one}
    for uid, one in before.items():
        if uid not in now:
            changed[uid] = Fingerprint(one.namespace, one.name, frozenset())
    return changed
