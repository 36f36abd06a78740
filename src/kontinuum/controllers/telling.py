"""Events that hold for a while, each told once while it does."""

from __future__ import annotations

from collections.abc import Iterable

from kontinuum.api.machinery.objects import Object
from kontinuum.client.events import EventRecorder
from kontinuum.controllers.lib.notices import Notice


class Notices:
    """Remembers what each key was told last, so that looking again at what has not changed says nothing new."""

    def __init__(self, events: EventRecorder) -> None:
        self._events = events
        self._told: dict[str, frozenset[Notice]] = {}

    def tell(self, key: str, obj: Object, notices: Iterable[Notice]) -> None:
        """Tell about ``obj`` what was not among the notices of ``key`` the last time; all of them hold now."""
        now = list(notices)
        for notice in now:
            if notice not in self._told.get(key, ()):
                self._events.event(obj, notice.kind, notice.reason, notice.message)
        if now:
            self._told[key] = frozenset(now)
        else:
            self._told.pop(key, None)

    def forget(self, key: str) -> None:
        """The object is gone."""
        self._told.pop(key, None)
