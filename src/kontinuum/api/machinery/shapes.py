"""What a merge must know of a value's type: is it whole or made of parts, and how are its parts named?

Whoever has a schema (the built-in definitions, a CustomResourceDefinition) turns it into shapes; the merge knows no
other description. Without a schema the shape is deduced: maps have parts, lists and plain values are whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kontinuum.foundation.familiar import Familiar

SCALAR, LIST, MAP, ANY = "scalar", "list", "map", "any"
NOTHING: Mapping[str, Any] = {}


@dataclass(slots=True, eq=False)
class Shape:
    """The type of one value, as merges see it (structured-merge-diff's ``schema.Atom``)."""

    form: str
    """``scalar``, ``list``, ``map``, or ``any``: as the value is."""
    scalar: str = ""
    """Of a scalar: ``string``, ``numeric``, ``boolean``, or "" for any of them."""
    is_atomic: bool = False
    """One owner owns the whole value. A list that is not atomic is a set, or with ``keys`` a map."""
    element: Shape | None = None
    """Of a list: its elements; of a map: the values of keys that ``fields`` does not name. None: no such keys."""
    keys: tuple[str, ...] = ()
    """Of a list of objects: the fields that tell an element from the others."""
    key_defaults: Mapping[str, Any] = field(default_factory=dict)
    """What absent ``keys`` read as."""
    always: frozenset[str] = frozenset()
    """Fields that an object of this type has even when nobody has set anything in them (Go's struct values)."""
    load_fields: Callable[[], Mapping[str, Shape]] | None = None
    """Called once; types may contain themselves."""
    flat: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)
    """The paths of objects that had just these fields, all of them scalars: the same for every such object."""
    familiar: Familiar[dict[str, Any]] | None = None
    """The paths of whole values that were the same."""
    change: Familiar[Any] | None = None
    """Of a list: what differed between two of them, before and after, that were the same."""
    _fields: Mapping[str, Shape] | None = None

    @property
    def fields(self) -> Mapping[str, Shape]:
        """Of a map: its named fields."""
        found = self._fields
        if found is None:
            found = self._fields = self.load_fields() if self.load_fields is not None else NOTHING
        return found

    @property
    def is_whole(self) -> bool:
        """Never looked into."""
        return self.is_atomic or self.form == SCALAR

    def below(self, name: str) -> Shape:
        """The shape of a field or key. What the type does not know is deduced from its value."""
        return self.fields.get(name) or self.element or DEDUCED

    def of(self, value: Any) -> Shape:
        """This shape, decided for ``value`` where it depends on it."""
        if self.form != ANY or self.is_atomic:
            return self
        if isinstance(value, dict):
            return _ANY_MAP
        return _ANY_LIST if isinstance(value, list) else _ANY_SCALAR


DEDUCED = Shape(ANY)
WHOLE = Shape(ANY, is_atomic=True)
"""Anything at all, owned whole."""
_ANY_MAP = Shape(MAP, element=DEDUCED)
_ANY_LIST = Shape(LIST, is_atomic=True, element=DEDUCED)
_ANY_SCALAR = Shape(SCALAR)
