"""The current objects of one resource, and what happened to them lately.

Each object is kept once, as the compact bytes that get, list and watch answer with, beside its labels and selectable
fields. The cache decides nothing and reads no store: ``feed`` tells it every change in order.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from sys import intern

import orjson

from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.events import Entry, Event
from kontinuum.apiserver.projection import Projection, projection_of
from kontinuum.apiserver.registry import Layout
from kontinuum.apiserver.selection import Selection
from kontinuum.apiserver.watcher import Watcher

FieldsOf = Callable[[Object], dict[str, str]]
FEW = 10
"""Watchers that are woken for each change."""
SERVING_SECONDS = 50e-6
"""What it takes to write to one watcher: a hundred are woken again after 5 ms."""
FRESH = 256
"""Events that watchers may still have to be told of: of the older ones only the objects are kept, not their frames."""
HISTORY_BYTES = 8 * 1024 * 1024
"""More of the past than this is kept only where the present takes more."""


class WatchCache:
    """See the module. ``fields_of`` answers all selectable fields of an object; None if there are none.

    ``history``: as many events are kept, or as many as there are objects, if those are more. Whoever lists everything
    reads each object once and resumes from where that began. To read one takes less than to change one, so that the
    past still reaches back to there however fast changes come; a shorter one would have him list again for as long as
    they do. ``read`` names the paths of an object that it looks at, () for all. ``keeps_previous``: also the object
    before a change, though no selection would tell it from the one after, because selections may look at a conversion
    of both.
    """

    def __init__(
        self,
        resource: Resource,
        *,
        fields_of: FieldsOf | None = None,
        read: Sequence[str] = (),
        history: int = 4096,
        layout: Layout | None = None,
        keeps_previous: bool = False,
    ) -> None:
        self.resource = resource
        self._keeps_previous = keeps_previous
        self.layout = layout or Layout(resource)
        self._fields_of = fields_of
        self._project: Projection = projection_of(read) if fields_of is None or read else orjson.loads
        self._entries: dict[str, Entry] = {}
        self._keys: list[str] = []
        self._history: deque[Event] = deque()
        self._history_limit = history
        self._history_bytes = 0
        self._bytes = 0
        """Of the objects."""
        self.watchers: set[Watcher] = set()
        self._followers: list[set[str]] = []
        self._woken = 0.0
        self._is_waking = False
        self._is_fed = True
        self._followed_by: WatchCache | None = None
        self.oldest = 0
        """Watches can resume after any revision that is not below this."""
        self.changed = 0
        """Revision of the last change of this resource that the cache has seen."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def select(self, selection: Selection, *, after: str = "") -> Iterator[Entry]:
        """Matching entries in key order, beginning after the key ``after``."""
        start, stop = self._span(selection.namespace, after)
        entries = (self._entries[key] for key in islice(self._keys, start, stop))
        return entries if selection.is_everything else filter(selection.matches, entries)

    def page(self, selection: Selection, *, after: str, limit: int) -> tuple[list[Entry], int]:
        """At most ``limit`` entries of a namespace (or all), in key order after ``after``, and how many follow."""
        start, stop = self._span(selection.namespace, after)
        end = min(stop, start + limit)
        return [self._entries[key] for key in self._keys[start:end]], stop - end

    def count(self, namespace: str = "") -> int:
        """How many objects there are, in one namespace or in all for ""."""
        start, stop = self._span(namespace, "")
        return stop - start

    def _span(self, namespace: str, after: str) -> tuple[int, int]:
        """Where the keys of a namespace (or all for "") after ``after`` begin and end."""
        prefix, keys = self.layout.prefix_of(namespace), self._keys
        start = bisect_right(keys, after) if after else bisect_left(keys, prefix)
        # "0" is the character after "/", so this is where the namespace's keys end.
        stop = bisect_left(keys, prefix[:-1] + "0") if namespace else len(keys)
        return start, max(start, stop)

    def follow(self) -> set[str]:
        """The keys of objects that may have changed since they were taken out of the set, at first all.

        For those inside the server who keep something derived from objects: cheaper than events, and it misses nothing.
        """
        keys = set(self._keys)
        self._followers.append(keys)
        return keys

    def load(self, key: str, value: bytes, revision: int) -> None:
        """An object that was there when the feed began."""
        entry = self._entry(key, value, revision)
        entry.share_texts()
        self._put(key, entry, self._entries.get(key))
        self.changed = max(self.changed, revision)
        for keys in self._followers:
            keys.add(key)

    def begin(self, revision: int) -> None:
        """Everything was loaded as of ``revision``: history begins here."""
        self.oldest = revision
        self.changed = max(self.changed, revision)

    def clear(self) -> None:
        """Forget everything and end every watch, because changes have been missed; ``load`` comes next."""
        for keys in self._followers:
            keys.update(self._keys)
        self._entries.clear()
        self._keys.clear()
        self._history.clear()
        self._history_bytes = self._bytes = 0
        self.end_watches()

    def end_watches(self) -> None:
        """Tell every watcher that no more will come; their clients watch again."""
        for watcher in self.watchers:
            watcher.end()
        self.watchers.clear()

    def give_way(self, successor: WatchCache | None) -> None:
        """Another cache is fed in place of this one, or none: requests that still hold this one see what that sees."""
        self.end_watches()
        self._followed_by = successor
        self._is_fed = False
        if successor is None:
            return
        if self._fields_of is None and successor._fields_of is None and self.resource.kind == successor.resource.kind:
            # Both have seen the same changes until now, and this one remembers more of them: nobody has to list again.
            successor._history, successor._history_bytes = self._history, self._history_bytes
            successor.oldest = self.oldest
        self._entries, self._keys = successor._entries, successor._keys

    def apply(self, key: str, value: bytes, revision: int, *, deleted: bool) -> None:
        """The next change of this resource."""
        entry = self._entry(key, value, revision)
        previous = self._entries.get(key)
        is_selected_alike = previous is not None and entry.is_selected_as(previous)
        if not is_selected_alike:
            entry.share_texts()
        if deleted:
            if previous is not None:
                self._remove(key, previous)
        else:
            self._put(key, entry, previous)
        for keys in self._followers:
            keys.add(key)
        self.changed = revision
        # Whoever saw the object before sees this one, so that nobody asks for the bytes of the one before. Most changes
        # are of this kind, and those bytes would be half of what history holds.
        before = entry if is_selected_alike and not self._keeps_previous else previous
        event = Event(self.layout, revision, entry, before, deleted=deleted)
        self._remember(event)
        for watcher in list(self.watchers):
            watcher.offer(event)
            if watcher.ended:
                self.watchers.discard(watcher)
        if not self._is_waking:
            self._wake_later()

    def _put(self, key: str, entry: Entry, previous: Entry | None) -> None:
        if previous is None:
            insort(self._keys, key)
        else:
            self._bytes -= len(previous.value)
        self._entries[key] = entry
        self._bytes += len(entry.value)

    def _remove(self, key: str, previous: Entry) -> None:
        del self._entries[key]
        del self._keys[bisect_left(self._keys, key)]
        self._bytes -= len(previous.value)

    def _wake_later(self) -> None:
        """Let the watchers read: at once, or if there are many and they have just been woken, a little later.

        Each of them writes to its client when it is woken. Many would spend all their time on that, a change at a
        time, while changes come faster than they can be told: so they are told together what came in the meantime.
        """
        if len(self.watchers) <= FEW:
            self._wake()
            return
        loop = asyncio.get_running_loop()
        rest = self._woken + len(self.watchers) * SERVING_SECONDS - loop.time()
        if rest <= 0:
            self._wake()
        else:
            self._is_waking = True
            loop.call_later(rest, self._wake)

    def _wake(self) -> None:
        self._is_waking = False
        if len(self.watchers) > FEW:
            self._woken = asyncio.get_running_loop().time()
        for watcher in self.watchers:
            watcher.wake()

    def watch(self, selection: Selection, *, after: int, limit: int) -> Watcher | None:
        """A watcher of every change with a revision greater than ``after``; None if that is too long ago."""
        if self._followed_by is not None:
            return self._followed_by.watch(selection, after=after, limit=limit)
        if after < self.oldest:
            return None
        watcher = Watcher(selection, limit=limit)
        start = bisect_right(self._history, after, key=lambda event: event.revision)
        watcher.replay(islice(self._history, start, None))
        if self._is_fed:
            self.watchers.add(watcher)
        else:
            watcher.end()
        return watcher

    def entry_of(self, key: str, value: bytes, revision: int) -> Entry:
        """An entry that is not (or no longer) cached, e.g. of a list of the past."""
        return self._entry(key, value, revision)

    def _entry(self, key: str, value: bytes, revision: int) -> Entry:
        namespace, name = self.layout.identity(key)
        spliced = self.layout.splice(value, revision)
        obj = self._project(spliced)
        labels = obj["metadata"].get("labels")
        fields = self._fields_of(obj) if self._fields_of is not None else _NO_FIELDS
        return Entry(
            key, spliced, revision,
            namespace=intern(namespace), name=name, labels=labels or None, fields=fields,
        )  # fmt: skip

    def _remember(self, event: Event) -> None:
        self._history.append(event)
        self._history_bytes += len(event.entry.value)
        if len(self._history) > FRESH:
            self._history[-FRESH - 1].forget_frames()
        events, size = max(self._history_limit, len(self._entries)), max(HISTORY_BYTES, self._bytes)
        while len(self._history) > events or self._history_bytes > size:
            forgotten = self._history.popleft()
            self._history_bytes -= len(forgotten.entry.value)
            self.oldest = forgotten.revision


_NO_FIELDS: dict[str, str] = {}
