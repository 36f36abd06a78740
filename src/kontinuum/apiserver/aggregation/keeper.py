"""Looks after every APIService: is its server there, and what does it serve? Writes the condition ``Available``.

an APIService, its Service or its EndpointSlices changed ─┐
it failed a while ago (back-off) ─────────────────────────┼─▶ look ─▶ condition, discovery, OpenAPI
it has not been looked at for long ───────────────────────┘
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import orjson
import structlog

from kontinuum.api.kubernetes.apiregistration import AVAILABLE, GroupVersion, is_local
from kontinuum.api.kubernetes.resources import APISERVICES, ENDPOINTSLICES, SERVICES
from kontinuum.api.machinery.conditions import get_condition, set_condition
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.aggregation.availability import LOCAL, PASSED, Verdict, failed_discovery, missing
from kontinuum.apiserver.aggregation.extensions import Extension, Extensions
from kontinuum.apiserver.aggregation.inquiry import Inquiry, Unanswered
from kontinuum.apiserver.aggregation.told import Elsewhere
from kontinuum.apiserver.context import Context
from kontinuum.apiserver.selection import Selection
from kontinuum.apiserver.services.resolver import SERVICE_NAME
from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import rfc3339
from kontinuum.store.port import Missing, StaleRevision

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
"""How soon a change of a Service or EndpointSlice is noticed, while there are extension servers."""
IDLE_SECONDS = 60.0
"""The same without any; a new APIService wakes the keeper at once."""
HEALTHY_SECONDS = 30.0
AGAIN = Backoff(initial=1.0, maximum=30.0, jitter=0.1)
QUEUE = 1024


@dataclass(slots=True)
class _Watched:
    """What is known of one extension between two looks. Times are monotonic seconds."""

    extension: Extension
    next_look: float = 0.0
    failures: int = 0


class Keeper:
    """See the module. ``changed`` is told the group versions whose documents have to be made again."""

    def __init__(
        self,
        context: Context,
        extensions: Extensions,
        elsewhere: Elsewhere,
        inquiry: Inquiry,
        changed: Callable[[set[GroupVersion]], None],
    ) -> None:
        self._context = context
        self._extensions = extensions
        self._elsewhere = elsewhere
        self._inquiry = inquiry
        self._tell = changed
        self._watched: dict[GroupVersion, _Watched] = {}
        self._api_services = context.served[APISERVICES].cache.follow()
        self._services = context.served[SERVICES].cache.follow()
        self._slices = context.served[ENDPOINTSLICES].cache.follow()

    async def run(self) -> None:
        """Keep for ever. Ends only by cancellation."""
        cache = self._context.served[APISERVICES].cache
        while True:
            watcher = cache.watch(Selection(), after=cache.changed, limit=QUEUE)
            await self.look_once()
            if watcher is None:
                continue
            await watcher.wait_events(LOOK_SECONDS if self._watched else IDLE_SECONDS)
            cache.watchers.discard(watcher)

    async def look_once(self) -> None:
        """Look at every extension whose turn it is."""
        await self._mend_local()
        self._follow()
        touched = self._touched()
        now = self._context.clock.monotonic()
        due = [
            version
            for version, one in self._watched.items()
            if one.next_look <= now or (one.extension.namespace, one.extension.service) in touched
        ]
        await asyncio.gather(*(self._look(version) for version in due))

    def _follow(self) -> None:
        """Take up APIServices that are new or say something else, and let go of those that are gone."""
        current = self._extensions.current()
        gone = self._watched.keys() - current.keys()
        for version in gone:
            del self._watched[version]
        changed = gone | self._elsewhere.forget()
        for version, extension in current.items():
            known = self._watched.get(version)
            if known is None or replace(known.extension, is_available=extension.is_available) != extension:
                self._watched[version] = _Watched(extension)
                changed.add(version)
            elif known.extension != extension:
                known.extension = extension  # Somebody has written another condition: perhaps we, or another server.
                changed.add(version)
        if changed:
            self._tell(changed)

    def _touched(self) -> set[tuple[str, str]]:
        """Namespace and name of each Service that is not as it was at the last look."""
        services, slices = self._context.served[SERVICES].cache, self._context.served[ENDPOINTSLICES].cache
        touched = {services.layout.identity(key) for key in self._services}
        for key in self._slices:
            entry = slices.get(key)
            namespace, name = slices.layout.identity(key)
            # One that is gone no longer says whose it was; Services' own names begin their slices' names.
            service = (entry.labels or {}).get(SERVICE_NAME, "") if entry is not None else name.rpartition("-")[0]
            touched.add((namespace, service))
        self._services.clear()
        self._slices.clear()
        return touched

    async def _look(self, version: GroupVersion) -> None:
        watched = self._watched[version]
        extension = watched.extension
        verdict = await self._verdict(extension)
        if verdict is PASSED:
            watched.failures, pause = 0, HEALTHY_SECONDS
        else:
            pause = AGAIN.delay(watched.failures)
            watched.failures += 1
        watched.next_look = self._context.clock.monotonic() + pause
        await self._write(extension.name, verdict)

    async def _verdict(self, extension: Extension) -> Verdict:
        """Also notes what the server tells."""
        context, version = self._context, (extension.group, extension.version)
        service = await context.find(SERVICES, extension.namespace, extension.service)
        slices = await context.list(ENDPOINTSLICES, extension.namespace)
        problem = missing(extension, service, slices)
        if problem is not None:
            return problem
        try:
            resources = await self._inquiry.resources(extension)
        except Unanswered as error:
            return failed_discovery(str(error))
        before = self._elsewhere.told(version)
        told = await self._inquiry.documents(extension, replace(before, resources=resources))
        if version in self._extensions.current():
            self._elsewhere.tell(version, told)
            if told != before:
                self._tell({version})
        return PASSED

    async def _mend_local(self) -> None:
        """An APIService that names no Service (any more) is answered here, and therefore available."""
        cache = self._context.served[APISERVICES].cache
        while self._api_services:
            entry = cache.get(self._api_services.pop())
            if entry is not None:
                obj = orjson.loads(entry.value)
                if is_local(obj):
                    await self._write(obj["metadata"]["name"], LOCAL)

    async def _write(self, name: str, verdict: Verdict) -> None:
        """Nothing is written where the condition says the same already."""
        served = self._context.served[APISERVICES]
        entry = served.cache.get(served.layout.key("", name))
        if entry is None:
            return
        obj: Object = orjson.loads(entry.value)
        old = get_condition(obj, AVAILABLE) or {}
        if verdict == (old.get("status"), old.get("reason"), old.get("message")):
            return
        log.info("an APIService", name=name, available=verdict.status, reason=verdict.reason, message=verdict.message)
        status = obj.get("status") or {}
        conditions = set_condition(
            status.get("conditions"),
            AVAILABLE,
            verdict.status,
            now=rfc3339(self._context.clock.time()),
            reason=verdict.reason,
            message=verdict.message,
        )
        obj["status"] = {**status, "conditions": conditions}
        try:
            await self._context.store.update(entry.key, served.layout.encode(obj), expected=entry.revision)
        except (StaleRevision, Missing):
            return  # Somebody else has changed it, which wakes the keeper.
