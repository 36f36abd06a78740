"""Lists and maps: ``in``, indexes, ``size``."""

from __future__ import annotations

from typing import Any

from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.errors import EvaluationError, no_such_key
from kontinuum.api.machinery.cel.library import charges
from kontinuum.api.machinery.cel.overloads import function, member
from kontinuum.api.machinery.cel.values import NOTHING, Optional, contains

LIST_A, MAP_AB = t.list_of(t.A), t.map_of(t.A, t.B)
MAYBE_A, MAYBE_B = t.optional_of(t.A), t.optional_of(t.B)
MAYBE_LIST, MAYBE_MAP = t.optional_of(LIST_A), t.optional_of(MAP_AB)


def _at(elements: list[Any], index: int) -> Any:
    if 0 <= index < len(elements):
        return elements[index]
    raise EvaluationError(f"index out of bounds: {index}")


def _get(entries: dict[Any, Any], key: Any) -> Any:
    try:
        return entries[key]
    except KeyError:
        raise no_such_key(key) from None


def _maybe_at(elements: list[Any], index: int) -> Optional:
    return Optional(elements[index]) if 0 <= index < len(elements) else NOTHING


def _maybe_get(entries: dict[Any, Any], key: Any) -> Optional:
    return Optional(entries[key]) if key in entries else NOTHING


def _through(find: Any) -> Any:
    """The same inside an optional."""
    return lambda one, key: find(one.value, key) if one.is_present else NOTHING


def _in_map(key: Any, entries: dict[Any, Any]) -> bool:
    return key in entries


OVERLOADS = (
    function("@in", "in_list", (t.A, LIST_A), t.BOOL, lambda a, b: contains(b, a), charges.of_elements),
    function("@in", "in_map", (t.A, MAP_AB), t.BOOL, _in_map),
    function("_[_]", "index_list", (LIST_A, t.INT), t.A, _at),
    function("_[_]", "index_map", (MAP_AB, t.A), t.B, _get),
    function("_[_]", "optional_list_index_int", (MAYBE_LIST, t.INT), MAYBE_A, _through(_maybe_at)),
    function("_[_]", "optional_map_index_value", (MAYBE_MAP, t.A), MAYBE_B, _through(_maybe_get)),
    function("_[?_]", "list_optindex_int", (LIST_A, t.INT), MAYBE_A, _maybe_at),
    function("_[?_]", "map_optindex_value", (MAP_AB, t.A), MAYBE_B, _maybe_get),
    function("_[?_]", "optional_list_optindex_int", (MAYBE_LIST, t.INT), MAYBE_A, _through(_maybe_at)),
    function("_[?_]", "optional_map_optindex_value", (MAYBE_MAP, t.A), MAYBE_B, _through(_maybe_get)),
    *(
        make("size", f"size_{kind.kind}", (kind,), t.INT, len)
        for make in (function, member)
        for kind in (t.STRING, t.BYTES, LIST_A, MAP_AB)
    ),
)  # fmt: skip
