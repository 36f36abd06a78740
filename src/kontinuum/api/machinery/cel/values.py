"""The values of expressions while they are evaluated, and what every function needs to know of them.

CEL's int, double, string, bytes, bool, null, list and map are Python's int, float, str, bytes, bool, None, list and
dict; the others are the classes below. Values are never changed once made.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from kontinuum.api.machinery.cel.errors import CostExceeded, EvaluationError
from kontinuum.api.machinery.cel.types import Type

SMALLEST, LARGEST = -(2**63), 2**63 - 1
LARGEST_UNSIGNED = 2**64 - 1
LONGEST = 16 * 1024 * 1024
"""Characters or elements of one value. Far beyond what the cost limits leave room for; it bounds memory before that."""


class Unsigned(int):
    """CEL's uint."""

    __slots__ = ()


class Timestamp:
    """A moment, in nanoseconds since 1970 UTC."""

    __slots__ = ("nanoseconds",)

    def __init__(self, nanoseconds: int) -> None:
        self.nanoseconds = nanoseconds

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Timestamp) and self.nanoseconds == other.nanoseconds

    def __hash__(self) -> int:
        return hash(self.nanoseconds)


class Duration:
    """A length of time in nanoseconds, as large as Go's."""

    __slots__ = ("nanoseconds",)

    def __init__(self, nanoseconds: int) -> None:
        self.nanoseconds = nanoseconds

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Duration) and self.nanoseconds == other.nanoseconds

    def __hash__(self) -> int:
        return hash(("duration", self.nanoseconds))


class Optional:
    """CEL's optional_type: a value or its absence."""

    __slots__ = ("is_present", "value")

    def __init__(self, value: Any, *, is_present: bool = True) -> None:
        self.value = value
        self.is_present = is_present


NOTHING = Optional(None, is_present=False)


class TypeValue:
    """A type as a value: what ``type(x)`` answers."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypeValue) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


class Record:
    """A value with named fields that is no map. Subclasses say where the fields come from."""

    __slots__ = ()

    @property
    @abstractmethod
    def type(self) -> Type: ...

    @abstractmethod
    def select(self, name: str) -> Any:
        """Raises EvaluationError if the field is not set."""

    @abstractmethod
    def has(self, name: str) -> bool: ...

    def equals(self, other: Any) -> bool:
        return self is other

    def to_json(self) -> Any:
        raise EvaluationError(f"type conversion error from '{self.type}' to JSON")


class Opaque:
    """A value that only functions know. ``size`` is what cost is counted by."""

    __slots__ = ()
    type_name = ""

    def equals(self, other: Any) -> bool:
        return self is other


class SetList(list[Any]):
    """A list whose schema says ``x-kubernetes-list-type: set``: equality ignores order, and adding is a union."""

    __slots__ = ()


class MapList(list[Any]):
    """A list with ``x-kubernetes-list-type: map``: elements are the same if their keys are; adding merges."""

    __slots__ = ("keys",)

    def __init__(self, elements: list[Any], keys: tuple[str, ...]) -> None:
        super().__init__(elements)
        self.keys = keys

    def key_of(self, element: Any) -> tuple[Any, ...]:
        return tuple(_field(element, key) for key in self.keys)


def _field(element: Any, name: str) -> Any:
    if isinstance(element, Record):
        return element.select(name) if element.has(name) else None
    return element.get(name) if isinstance(element, dict) else None


SAME = frozenset({str, int, bytes, bool, float, type(None), Unsigned, Timestamp, Duration, TypeValue})
NUMBERS = frozenset({int, float, Unsigned})


def equals(one: Any, other: Any) -> bool:
    """CEL's ``==``: numbers of different types may be equal, any other two types are not."""
    kind, other_kind = type(one), type(other)
    if kind is other_kind and kind in SAME:
        return bool(one == other)
    if kind in NUMBERS and other_kind in NUMBERS:
        return bool(one == other)
    if isinstance(one, list) and isinstance(other, list):
        return _lists_equal(one, other)
    if kind is dict and other_kind is dict:
        return len(one) == len(other) and all(k in other and equals(v, other[k]) for k, v in one.items())
    if isinstance(one, (Record, Opaque)):
        return one.equals(other)
    if kind is Optional and other_kind is Optional:
        return one.is_present == other.is_present and equals(one.value, other.value)
    return False


def _lists_equal(one: list[Any], other: list[Any]) -> bool:
    if len(one) != len(other):
        return False
    if isinstance(one, SetList):
        return all(contains(one, element) for element in other)
    if isinstance(one, MapList):
        by_key = {one.key_of(element): element for element in one}
        keys = [one.key_of(element) for element in other]
        return all(key in by_key and equals(by_key[key], element) for key, element in zip(keys, other, strict=True))
    return all(map(equals, one, other))


def contains(elements: list[Any], wanted: Any) -> bool:
    if type(wanted) is str:
        return wanted in elements
    return any(equals(element, wanted) for element in elements)


def concatenated(one: list[Any], other: list[Any]) -> list[Any]:
    """``one + other``, by the rules of the first one's list type."""
    if len(one) + len(other) > LONGEST:
        raise CostExceeded
    if isinstance(one, SetList):
        known = SetList(one)
        for element in other:
            if not contains(known, element):
                known.append(element)
        return known
    if isinstance(one, MapList):
        places = {one.key_of(element): place for place, element in enumerate(one)}
        merged = MapList(list(one), one.keys)
        for element in other:
            place = places.get(one.key_of(element))
            if place is None:
                merged.append(element)
            else:
                merged[place] = element
        return merged
    return list(one) + list(other)


NAMES: dict[type, str] = {
    bool: "bool", int: "int", Unsigned: "uint", float: "double", str: "string", bytes: "bytes", type(None): "null_type",
    list: "list", dict: "map", Timestamp: "google.protobuf.Timestamp", Duration: "google.protobuf.Duration",
    Optional: "optional_type", TypeValue: "type", SetList: "list", MapList: "list",
}  # fmt: skip


def name_of_type(value: Any) -> str:
    """What ``type(value)`` is called."""
    if isinstance(value, Record):
        return str(value.type)
    if isinstance(value, Opaque):
        return value.type_name
    return NAMES.get(type(value), "dyn")


def size_of(value: Any) -> int:
    """As cost counts it: characters, bytes, elements or entries; 1 for whatever has no size."""
    if isinstance(value, (str, bytes, list, dict)):
        return len(value)
    return 1


def is_of(kind: str, name: str) -> Callable[[Any], bool]:
    """A test whether a value is of a type's kind."""
    match kind:
        case "dyn" | "param" | "error":
            return lambda value: True
        case "object":
            return lambda value: isinstance(value, Record) and str(value.type) == name
        case "opaque" if name == "optional_type":
            return lambda value: type(value) is Optional
        case "opaque":
            return lambda value: isinstance(value, Opaque) and value.type_name == name
        case "list":
            return lambda value: isinstance(value, list)
    wanted = KINDS[kind]
    return lambda value: type(value) is wanted


KINDS: dict[str, type] = {
    "bool": bool, "int": int, "uint": Unsigned, "double": float, "string": str, "bytes": bytes, "null": type(None),
    "map": dict, "timestamp": Timestamp, "duration": Duration, "type": TypeValue,
}  # fmt: skip


def checked_int(number: int) -> int:
    """Raises EvaluationError unless it is a 64-bit number."""
    if SMALLEST <= number <= LARGEST:
        return number
    raise EvaluationError("return error for overflow")


def to_json(value: Any) -> Any:
    """A result as plain JSON. Raises EvaluationError for what JSON cannot say."""
    try:
        return _json(value)
    except RecursionError:
        raise EvaluationError("the value is nested too deeply") from None


def _json(value: Any) -> Any:
    match value:
        case None | bool() | str():
            return value
        case int():
            return int(value)
        case float():
            if not math.isfinite(value):
                raise EvaluationError(f"unsupported value: {value}")
            return value
        case list():
            return [_json(one) for one in value]
        case dict():
            return {_json_key(key): _json(one) for key, one in value.items()}
        case Record():
            return value.to_json()
        case Optional():
            return _json(value.value) if value.is_present else None
    # That module needs this one.
    from kontinuum.api.machinery.cel.times import text_of

    return text_of(value)


def _json_key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)
