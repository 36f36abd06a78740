"""What was found out about a JSON value, kept for the next one that is equal to it.

Objects come by the hundred from one template, and whoever looks at all parts of one finds the same as with the last.
Writing a value as bytes takes a fifth of looking at its parts, and touches a fraction of the code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import orjson

T = TypeVar("T")

MOST = 32
LONGEST = 16 * 1024
"""Bytes of a value that is kept: the longer ones are seldom met twice."""


class Familiar(Generic[T]):
    """``find`` looks at nothing but the value and leaves it alone, and nobody changes what it answers."""

    def __init__(self, find: Callable[[Any], T]) -> None:
        self._find = find
        self._known: dict[bytes, T] = {}

    def of(self, value: Any) -> T:
        """What ``find`` answers, and raises."""
        try:
            written = orjson.dumps(value)
        except orjson.JSONEncodeError:  # Nested too deeply.
            return self._find(value)
        known = self._known
        if written in known:
            return known[written]
        found = self._find(value)
        if len(written) <= LONGEST:
            if len(known) >= MOST:
                del known[next(iter(known))]
            known[written] = found
        return found
