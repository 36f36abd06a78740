"""What was found out about a JSON value, kept for the next one that is equal to it.

Objects come by the hundred from one template, and whoever looks at all parts of one finds the same as with the last.
Writing a value as bytes takes a fifth of looking at its parts, and touches a fraction of the code. Where one value
after the other has been a stranger, only some are written until one is met again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import orjson

T = TypeVar("T")

MOST = 32
LONGEST = 16 * 1024
"""Bytes of a value that is kept: the longer ones are seldom met twice."""
PATIENCE = 64
"""So many strangers in a row are taken as a sign that all are."""
EVERY = 8
"""Of those that are taken for strangers, every eighth is written all the same."""


class Known(Generic[T]):
    """Findings by what their values are written as."""

    def __init__(self) -> None:
        self._found: dict[bytes, T] = {}
        self._strangers = 0

    def written(self, value: Any) -> bytes:
        """What to ask by; b"" if it is not worth asking."""
        if self._strangers > PATIENCE and self._strangers % EVERY:
            self._strangers += 1
            return b""
        try:
            return orjson.dumps(value)
        except orjson.JSONEncodeError:  # Nested too deeply.
            return b""

    def get(self, written: bytes) -> T | None:
        """None if nothing is known."""
        found = self._found.get(written)
        self._strangers = 0 if found is not None else self._strangers + 1
        return found

    def keep(self, written: bytes, found: T) -> None:
        if written and len(written) <= LONGEST:
            # Some look on threads: what is done here is never half done.
            for oldest in [*self._found][: max(0, len(self._found) - MOST + 1)]:
                self._found.pop(oldest, None)
            self._found[written] = found


class Familiar(Generic[T]):
    """``find`` looks at nothing but the value and leaves it alone, and nobody changes what it answers (never None)."""

    def __init__(self, find: Callable[[Any], T]) -> None:
        self._find = find
        self._known: Known[T] = Known()

    def of(self, value: Any) -> T:
        """What ``find`` answers, and raises."""
        written = self._known.written(value)
        if not written:
            return self._find(value)
        found = self._known.get(written)
        if found is None:
            found = self._find(value)
            self._known.keep(written, found)
        return found
