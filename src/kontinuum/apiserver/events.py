"""One change as watchers see it: the entry before and after, and frames that are encoded once for all watchers."""

from __future__ import annotations

import asyncio
from sys import intern

from kontinuum.apiserver.registry import Layout
from kontinuum.apiserver.selection import Selection


class Entry:
    """One object in the watch cache: its bytes as clients get them, and what selectors look at."""

    __slots__ = ("fields", "key", "labels", "name", "namespace", "revision", "value")

    def __init__(
        self,
        key: str,
        value: bytes,
        revision: int,
        *,
        namespace: str,
        name: str,
        labels: dict[str, str] | None,
        fields: dict[str, str],
    ) -> None:
        self.key = key
        self.value = value
        self.revision = revision
        self.namespace = namespace
        self.name = name
        self.labels = labels
        self.fields = fields

    def is_selected_as(self, other: Entry) -> bool:
        """Every selection that sees one of two states of an object sees the other. They share then what is the same."""
        if self.labels != other.labels or self.fields != other.fields:
            return False
        self.labels, self.fields = other.labels, other.fields
        return True

    def share_texts(self) -> None:
        """Keep what selectors look at once for all objects that say the same, as most of them do."""
        labels, fields = self.labels, self.fields
        try:
            if labels is not None:
                self.labels = dict(zip(map(intern, labels), map(intern, labels.values()), strict=True))
            self.fields = dict(zip(fields, map(intern, fields.values()), strict=True))
        except TypeError:
            pass  # What is stored may be older than the rule that it is text.

    def showing(self, value: bytes) -> Entry:
        """The same object in other words."""
        return Entry(
            self.key, value, self.revision,
            namespace=self.namespace, name=self.name, labels=self.labels, fields=self.fields,
        )  # fmt: skip


class Event:
    """A change at ``revision``. ``entry`` is the object after it (of a deletion: as it was last).

    ``previous`` is the one before, or one that every selection takes for it.
    """

    __slots__ = ("_frames", "_layout", "_shared", "deleted", "entry", "previous", "revision")

    def __init__(self, layout: Layout, revision: int, entry: Entry, previous: Entry | None, *, deleted: bool) -> None:
        self._layout = layout
        self._frames: dict[str, bytes] | None = None
        self._shared: dict[tuple[str, str], asyncio.Future[bytes]] | None = None
        self.revision = revision
        self.entry = entry
        self.previous = previous
        self.deleted = deleted

    def type_for(self, selection: Selection) -> str:
        """ADDED, MODIFIED or DELETED as this selection sees the change, or "" if it does not see it.

        An update that enters a selection is ADDED, one that leaves it DELETED (apiserver's ``cacheWatcher``).
        """
        if selection.is_unbounded:
            if self.previous is None:
                return "" if self.deleted else "ADDED"
            return "DELETED" if self.deleted else "MODIFIED"
        if self.previous is self.entry and not self.deleted:
            # Most changes: every selection takes the object before it for the one after it.
            return "MODIFIED" if selection.matches(self.entry) else ""
        before = self.previous is not None and selection.matches(self.previous)
        after = not self.deleted and selection.matches(self.entry)
        if after:
            return "MODIFIED" if before else "ADDED"
        return "DELETED" if before else ""

    def object_for(self, type_: str) -> bytes:
        """The object's bytes in an event of this type.

        Who sees an update as DELETED gets the object as it matched last, under the revision at which it left.
        """
        if type_ == "DELETED" and not self.deleted and self.previous is not None:
            return self._layout.resplice(self.previous.value, self.revision)
        return self.entry.value

    def frame(self, type_: str) -> bytes:
        """One line of a JSON watch stream; shared by every watcher."""
        if self._frames is None:
            self._frames = {}
        frame = self._frames.get(type_)
        if frame is None:
            frame = self._frames[type_] = watch_frame(type_, self.object_for(type_))
        return frame

    def forget_frames(self) -> None:
        """Whoever still asks for one has it made again."""
        self._frames = None

    def shared(self) -> dict[tuple[str, str], asyncio.Future[bytes]]:
        """The object in other versions than the stored one, by version and side (see ``versions``)."""
        if self._shared is None:
            self._shared = {}
        return self._shared


def watch_frame(type_: str, obj: bytes) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (type_.encode(), obj)
