"""Follows the CustomResourceDefinitions: gives them their conditions, serves them, and empties those that end.

Every server runs this on the same store. Conditions are written by compare-and-swap; a server that is slower finds them
as it wants them. A definition is served before it is said to be ``Established``, so that whoever waits for that can
use it at once; a request that another server gets earlier waits there for ``settled`` before it is told 404.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import orjson
import structlog

from kontinuum.api.kubernetes.custom import naming
from kontinuum.api.kubernetes.custom.versions import is_built_in, is_read_anew, is_served_anew
from kontinuum.api.kubernetes.kinds.apiextensions import is_to_be_emptied
from kontinuum.api.kubernetes.resources import CUSTOMRESOURCEDEFINITIONS
from kontinuum.api.machinery.conditions import is_true
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver import storing
from kontinuum.apiserver.admission.webhooks.client import WebhookClient
from kontinuum.apiserver.context import Context
from kontinuum.apiserver.custom.deletion import empty
from kontinuum.apiserver.custom.serving import Serving, serve
from kontinuum.apiserver.custom.webhook import converting
from kontinuum.apiserver.events import Entry
from kontinuum.apiserver.selection import Selection
from kontinuum.foundation.clock import rfc3339
from kontinuum.foundation.tasks import cancel
from kontinuum.store.port import Missing, StaleRevision, StoreUnavailable

log = structlog.get_logger(__name__)

AGAIN_SECONDS = 2.0
"""How soon what has failed is tried again."""


class Definitions:
    """See the module."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._client = WebhookClient()
        self._cache = context.served[CUSTOMRESOURCEDEFINITIONS].cache
        self._keys = self._cache.follow()
        self._names: dict[str, Object] = {}
        """What of each definition decides which names are free, by key."""
        self._serving: dict[str, Serving] = {}
        self._emptying: dict[str, asyncio.Task[None]] = {}
        self._is_busy = False
        self._waiting: list[asyncio.Future[None]] = []

    async def run(self) -> None:
        """Ends only by cancellation."""
        limit = self._context.settings.watch_queue
        while True:
            # Only its waking is of use; what has changed is in the keys.
            watcher = self._cache.watch(Selection(), after=self._context.feed.applied, limit=limit)
            await self.settle()
            while watcher is not None and not watcher.ended:
                await watcher.wait_events(AGAIN_SECONDS)
                watcher.take()
                await self.settle()

    async def close(self) -> None:
        """What is under way ends; another server, or the next start, goes on with it."""
        await cancel(*self._emptying.values())
        await self._client.close()

    async def settle(self) -> None:
        """Do what the definitions as they are now ask for. What fails is tried again by the next call."""
        failed: set[str] = set()
        self._is_busy = True
        try:
            while self._keys:
                key = self._keys.pop()
                try:
                    await self._settle_one(key)
                except StoreUnavailable as error:
                    log.warning("the store does not answer; a custom resource waits", key=key, reason=str(error))
                    failed.add(key)
                except Exception:
                    # One definition that cannot be served must not keep the others, or the server, from their work.
                    log.exception("a custom resource cannot be served", key=key)
                    failed.add(key)
        finally:
            self._is_busy = False
            self._keys.update(failed)
            for future in self._waiting:
                if not future.done():
                    future.set_result(None)
            self._waiting.clear()

    async def settled(self) -> None:
        """Return when every definition whose write has returned is served, or after a while."""
        try:
            await self._context.catch_up()
        except (StoreUnavailable, ApiError):
            return  # What is known is better than nothing.
        if not self._keys and not self._is_busy:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await asyncio.wait([future], timeout=self._context.settings.read_wait_seconds)

    async def _settle_one(self, key: str) -> None:
        entry = self._cache.get(key)
        if entry is None:
            self._forget(key)
            return
        definition: Object = orjson.loads(entry.value)
        now = rfc3339(self._context.clock.time())
        settled = naming.settle(definition, self._names.values(), now=now)
        self._remember(key, settled)
        if is_true(settled, naming.ESTABLISHED):
            await self._serve(key, settled)
        if settled is not definition:
            await self._write(entry, settled)
        elif is_to_be_emptied(settled):
            self._begin_emptying(key)

    async def _serve(self, key: str, definition: Object) -> None:
        old = self._serving.get(key)
        if old is not None and not is_served_anew(old.definition, definition):
            return
        if is_built_in(definition, self._context.catalog.built_in):
            return  # Its objects would lie where those of the built-in kind are.
        history = self._context.settings.history_events
        convert = converting(definition, self._client, self._context)
        is_kept = old is not None and not is_read_anew(old.definition, definition)
        new = serve(definition, convert, history=history, cache=old.cache if old is not None and is_kept else None)
        if not is_kept:
            await self._context.feed.join(new.cache)
        # From here on nothing is awaited: nobody sees a resource without its objects.
        self._context.catalog.replace(old.resources if old is not None else (), new.served)
        self._serving[key] = new
        log.debug("serving a custom resource", name=definition["metadata"]["name"], versions=len(new.served))

    def _forget(self, key: str) -> None:
        gone = self._names.pop(key, None)
        if gone is not None:
            self._look_again_at(gone["spec"]["group"])
        serving = self._serving.pop(key, None)
        if serving is not None:
            self._context.catalog.replace(serving.resources, ())
            self._context.feed.leave(serving.cache)

    def _remember(self, key: str, definition: Object) -> None:
        state = definition.get("status") or {}
        group = definition["spec"]["group"]
        known = {
            "metadata": {"name": definition["metadata"]["name"]},
            "spec": {"group": group},
            "status": {"acceptedNames": state.get("acceptedNames")},
            "is_accepted": is_true(definition, naming.NAMES_ACCEPTED),
        }
        before, self._names[key] = self._names.get(key), known
        if before is not None and before["status"] != known["status"]:
            self._look_again_at(group)

    def _look_again_at(self, group: str) -> None:
        """Names of a group have become free: whoever waits for one may have it."""
        waiting = (key for key, one in self._names.items() if one["spec"]["group"] == group and not one["is_accepted"])
        self._keys.update(waiting)

    async def _write(self, entry: Entry, definition: Object) -> None:
        context = self._context
        # Whoever was faster has made another change, which comes next.
        with suppress(StaleRevision, Missing):
            await storing.replace(context, context.served[CUSTOMRESOURCEDEFINITIONS], entry, definition, dry_run=False)

    def _begin_emptying(self, key: str) -> None:
        running = self._emptying.get(key)
        if running is not None and not running.done():
            return
        serving = self._serving.get(key)
        work = empty(self._context, key, serving.stored if serving is not None else None)
        self._emptying[key] = task = asyncio.create_task(work, name=f"emptying {key}")
        task.add_done_callback(lambda done: self._emptied(key, done))

    def _emptied(self, key: str, task: asyncio.Task[None]) -> None:
        self._emptying.pop(key, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("the objects of a custom resource are not all deleted yet", key=key, reason=str(error))
            self._keys.add(key)
