"""The parts of a parsed expression. The checker writes each part's type beside it; nobody changes them afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kontinuum.api.machinery.cel.types import DYN, Type

if TYPE_CHECKING:
    from kontinuum.api.machinery.cel.overloads import Overload


@dataclass(slots=True, eq=False)
class Node:
    """``position`` counts characters from the beginning of the source."""

    position: int
    type: Type = field(default=DYN, init=False)


@dataclass(slots=True, eq=False)
class Literal(Node):
    value: Any
    literal_type: Type


@dataclass(slots=True, eq=False)
class Ident(Node):
    name: str
    constant: Any = field(default=None, init=False)
    """The value of a name that stands for one (``int``, ``google.protobuf.Timestamp``)."""
    is_local: bool = field(default=False, init=False)


@dataclass(slots=True, eq=False)
class Select(Node):
    """``a.b``; ``has(a.b)`` if ``is_test``; ``a.?b`` if ``is_optional``."""

    operand: Node
    field_name: str
    is_test: bool = False
    is_optional: bool = False
    ident: Ident | None = field(default=None, init=False)
    """Set if the whole path turned out to be one declared name (``authorizer.requestResource``)."""


@dataclass(slots=True, eq=False)
class Call(Node):
    """A function with its target, if it is called as a member, and arguments; operators are functions ``_+_``."""

    function: str
    target: Node | None
    arguments: list[Node]
    overloads: tuple[Overload, ...] = field(default=(), init=False)
    """Those that the types allow; which it is may only turn out with the values."""


@dataclass(slots=True, eq=False)
class ListNode(Node):
    elements: list[Node]
    optionals: frozenset[int] = frozenset()
    """Places of the elements that are left out if they are empty: ``[?a.?b]``."""


@dataclass(slots=True, eq=False)
class Entry:
    key: Node
    value: Node
    is_optional: bool = False


@dataclass(slots=True, eq=False)
class MapNode(Node):
    entries: list[Entry]


@dataclass(slots=True, eq=False)
class FieldInit:
    position: int
    name: str
    value: Node
    is_optional: bool = False


@dataclass(slots=True, eq=False)
class StructNode(Node):
    """``Object.spec{replicas: 1}``."""

    name: str
    inits: list[FieldInit]


@dataclass(slots=True, eq=False)
class Fold(Node):
    """A macro over a list or map: all exists existsOne map filter transformList transformMap transformMapEntry.

    ``condition`` is the predicate (or the filter of a transformation), ``body`` what the elements become.
    """

    macro: str
    range: Node
    variables: tuple[str, ...]
    condition: Node | None
    body: Node | None
    slots: tuple[int, ...] = field(default=(), init=False)


@dataclass(slots=True, eq=False)
class Bind(Node):
    """``cel.bind(name, value, body)``."""

    name: str
    value: Node
    body: Node


@dataclass(slots=True, eq=False)
class OptionalMap(Node):
    """``x.optMap(v, e)`` and ``x.optFlatMap(v, e)``."""

    operand: Node
    name: str
    body: Node
    is_flat: bool
