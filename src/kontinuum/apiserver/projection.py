"""Reads chosen paths of an object's JSON and skips the rest: a quarter of the time of a full decode."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypedDict, cast

import msgspec
import orjson

from kontinuum.api.machinery.objects import Object

WHOLE = None
Projection = Callable[[bytes], Object]
"""From an object's JSON to an object that has at least the chosen paths, where they are present."""


def projection_of(paths: Iterable[str]) -> Projection:
    """A reader of dotted ``paths``; the labels are always among them."""
    return _reader(frozenset(("metadata.labels", *paths)))


@cache
def _reader(paths: frozenset[str]) -> Projection:
    """Kept: kinds share few sets of paths, and to make a reader takes a millisecond."""
    tree: dict[str, Any] = {}
    # The shorter ones first: who reads a whole part reads what is in it.
    for path in sorted(paths, key=len):
        part: Any = tree
        *above, leaf = path.split(".")
        for name in above:
            part = part.setdefault(name, {}) if part is not WHOLE else WHOLE
        if part is not WHOLE:
            part[leaf] = WHOLE
    decode = msgspec.json.Decoder(_type_of(tree)).decode

    def read(value: bytes) -> Object:
        try:
            return cast(Object, decode(value))
        except msgspec.ValidationError:
            # Something else than an object stands where a path leads on: what is stored may be older than its schema.
            return cast(Object, orjson.loads(value))

    return read


def _type_of(tree: dict[str, Any]) -> Any:
    fields = {name: Any if below is WHOLE else (_type_of(below) | None) for name, below in tree.items()}
    # The functional form, because the fields are known only now.
    return TypedDict("Part", fields, total=False)  # type: ignore[operator]
