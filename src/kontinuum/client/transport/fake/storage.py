"""The objects of a fake API server, one revision counter for all of them, and the log that watches read."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from kontinuum.api.machinery.objects import Object, key_of
from kontinuum.api.machinery.resources import Resource


@dataclass(frozen=True, slots=True)
class Entry:
    """One change. ``new`` is None for a deletion; ``old`` is None for a creation."""

    revision: int
    resource: Resource
    old: Object | None
    new: Object | None


def position_after(revision: int, log: list[Entry]) -> int:
    """Where in the log the changes after ``revision`` begin."""
    return bisect_right(log, revision, key=attrgetter("revision"))


class Storage:
    """Objects are replaced, never changed, so that the log and its readers can share them."""

    def __init__(self) -> None:
        self.revision = 1
        self.compacted = 0
        """Watches from a revision below this one are too old."""
        self.log: list[Entry] = []
        self._logs: dict[Resource, list[Entry]] = defaultdict(list)
        """The same for each resource: most changes renew a lease, which a watch of pods need not look at."""
        self._objects: dict[Resource, dict[str, Object]] = {}
        self._waiting: dict[asyncio.Event, tuple[Resource | None, Callable[[], bool]]] = {}
        """Who waits for a change, for a change of what, and whether it has a fault to feel."""

    def get(self, resource: Resource, key: str) -> Object | None:
        return self._objects.get(resource, {}).get(key)

    def all(self, resource: Resource) -> list[Object]:
        """Every object of the resource, in key order as etcd would have it."""
        objects = self._objects.get(resource, {})
        return [objects[key] for key in sorted(objects)]

    def put(self, resource: Resource, new: Object) -> Object:
        """Write ``new`` under its own key with the next revision, and answer it as stored."""
        objects = self._objects.setdefault(resource, {})
        old = objects.get(key_of(new))
        stored = self._with_next_revision(new)
        objects[key_of(stored)] = stored
        self._append(resource, old, stored)
        return stored

    def remove(self, resource: Resource, last: Object) -> Object:
        """Remove the object; ``last`` is what watchers are shown, with the deletion's revision."""
        del self._objects[resource][key_of(last)]
        shown = self._with_next_revision(last)
        self._append(resource, shown, None)
        return shown

    def log_of(self, resource: Resource) -> list[Entry]:
        """The changes of the resource's objects; it grows."""
        return self._logs[resource]

    async def wait_changed(self, resource: Resource | None = None, is_cut: Callable[[], bool] = lambda: False) -> None:
        """Wait for the next change of an object of ``resource`` (None: of any), for any change once ``is_cut``."""
        changed = asyncio.Event()
        self._waiting[changed] = (resource, is_cut)
        try:
            await changed.wait()
        finally:
            del self._waiting[changed]

    def wake(self) -> None:
        """Let every waiting watch look up: there is a fault to feel."""
        for changed in self._waiting:
            changed.set()

    def find(self, resource: Resource, matches: Callable[[Object], bool]) -> list[Object]:
        return [obj for obj in self.all(resource) if matches(obj)]

    def _with_next_revision(self, obj: Object) -> Object:
        self.revision += 1
        return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}

    def _append(self, resource: Resource, old: Object | None, new: Object | None) -> None:
        entry = Entry(self.revision, resource, old, new)
        self.log.append(entry)
        self._logs[resource].append(entry)
        for changed, (wanted, is_cut) in self._waiting.items():
            if wanted is None or wanted == resource or is_cut():
                changed.set()
