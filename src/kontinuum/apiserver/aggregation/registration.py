"""APIServices of the group versions that this server answers itself: built in, or defined by somebody.

served ─▶ there must be one         it says something else ─▶ put right, while it carries our label
not served any more ─▶ ours goes    it names a Service ─▶ somebody has taken the group version over: not ours
"""

from __future__ import annotations

import asyncio
from enum import Enum

import orjson
import structlog

from kontinuum.api.kubernetes.apiregistration import (
    ALWAYS,
    MANAGED,
    ON_START,
    GroupVersion,
    is_local,
    local_service,
)
from kontinuum.api.kubernetes.resources import APISERVICES
from kontinuum.api.machinery.objects import Object, labels_of, name_of
from kontinuum.apiserver.bootstrap import create_missing
from kontinuum.apiserver.context import Context
from kontinuum.apiserver.selection import Selection
from kontinuum.store.port import Missing, StaleRevision

log = structlog.get_logger(__name__)

EVERY_SECONDS = 30.0


class Action(Enum):
    NOTHING = "it is right, or not ours"
    PUT_RIGHT = "its spec is not what it should be"
    DELETE = "nobody serves it any more"


class Registration:
    """Follows the catalog and the APIServices."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._awake = asyncio.Event()
        context.catalog.listen(self._wake)

    def _wake(self, changed: set[GroupVersion]) -> None:
        self._awake.set()

    async def run(self) -> None:
        """Keep for ever. Ends only by cancellation."""
        while True:
            self._awake.clear()
            await self._context.catch_up()
            await self.look_once()
            try:
                async with asyncio.timeout(EVERY_SECONDS):
                    await self._awake.wait()
            except TimeoutError:
                continue

    async def look_once(self) -> None:
        wanted = wanted_services(self._context)
        await create_missing(self._context, APISERVICES, wanted.values())
        served = self._context.served[APISERVICES]
        for entry in list(served.cache.select(Selection())):
            obj: Object = orjson.loads(entry.value)
            action = decide(obj, wanted.get(name_of(obj)))
            try:
                if action is Action.DELETE:
                    await self._context.store.delete(entry.key, expected=entry.revision)
                elif action is Action.PUT_RIGHT:
                    value = served.layout.encode({**obj, "spec": wanted[name_of(obj)]["spec"]})
                    await self._context.store.update(entry.key, value, expected=entry.revision)
            except (StaleRevision, Missing):
                continue  # Somebody else has changed it; the next look sees what came of it.


def wanted_services(context: Context) -> dict[str, Object]:
    """What should be there, by name."""
    catalog = context.catalog
    found = {}
    for resource in catalog.served:
        if resource.group == "apiregistration.k8s.io":
            continue  # It is what answers this question.
        managed = ON_START if resource in catalog.built_in else ALWAYS
        made = local_service(resource.group, resource.version, managed)
        found[name_of(made)] = made
    return found


def decide(current: Object, wanted: Object | None) -> Action:
    """What to do with an APIService that is there."""
    if labels_of(current).get(MANAGED) not in (ON_START, ALWAYS) or not is_local(current):
        return Action.NOTHING
    if wanted is None:
        return Action.DELETE
    return Action.NOTHING if current.get("spec") == wanted["spec"] else Action.PUT_RIGHT
