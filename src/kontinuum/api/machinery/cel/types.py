"""The types that expressions have: what the checker knows of a value before there is one (CEL's type system)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OPTIONAL_NAME = "optional_type"


@dataclass(frozen=True, slots=True, eq=False)
class Type:
    """``kind`` is one of: dyn error null bool int uint double string bytes timestamp duration list map type object
    opaque param. ``name`` belongs to objects, opaque types and parameters; ``parameters`` to lists, maps, types and
    opaque types.
    """

    kind: str
    name: str = ""
    parameters: tuple[Type, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Of an object: by the names that expressions use, ``schemas.Declared`` values. Looked at, never compared."""

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Type):
            return NotImplemented
        same = self.kind == other.kind and self.name == other.name
        return same and self.parameters == other.parameters

    def __hash__(self) -> int:
        return hash((self.kind, self.name, self.parameters))

    def __str__(self) -> str:
        """As error messages name it."""
        match self.kind:
            case "list" | "map" | "type" if self.parameters:
                return f"{self.kind}({', '.join(map(str, self.parameters))})"
            case "opaque" if self.parameters:
                return f"{self.name}({', '.join(map(str, self.parameters))})"
            case "object" | "opaque" | "param":
                return self.name
            case "error":
                return "!error!"
            case "null":
                return "null"
        return self.kind

    @property
    def is_dyn(self) -> bool:
        return self.kind in ("dyn", "error")

    @property
    def is_ground(self) -> bool:
        """Holds no placeholder."""
        return self.kind != "param" and all(one.is_ground for one in self.parameters)

    @property
    def is_optional(self) -> bool:
        return self.kind == "opaque" and self.name == OPTIONAL_NAME

    @property
    def is_scalar(self) -> bool:
        """Of one size, whatever the value (a string is not)."""
        if self.is_optional:
            return self.parameters[0].is_scalar
        return self.kind in ("bool", "int", "uint", "double", "timestamp", "duration")


DYN = Type("dyn")
ERROR = Type("error")
NULL = Type("null")
BOOL = Type("bool")
INT = Type("int")
UINT = Type("uint")
DOUBLE = Type("double")
STRING = Type("string")
BYTES = Type("bytes")
TIMESTAMP = Type("timestamp")
DURATION = Type("duration")


def list_of(element: Type) -> Type:
    return Type("list", parameters=(element,))


def map_of(key: Type, value: Type) -> Type:
    return Type("map", parameters=(key, value))


def type_of(target: Type) -> Type:
    return Type("type", parameters=(target,))


def optional_of(value: Type) -> Type:
    return Type("opaque", OPTIONAL_NAME, (value,))


def opaque(name: str) -> Type:
    """A value that only functions know: an IP address, a quantity, a URL ..."""
    return Type("opaque", name)


def parameter(name: str) -> Type:
    """A placeholder in a function's signature."""
    return Type("param", name)


A, B, K, V = (parameter(name) for name in "ABKV")
TYPE = type_of(DYN)

NULLABLE = frozenset({"null", "object", "opaque", "timestamp", "duration"})


class Unifier:
    """Finds out whether types fit together, and what the placeholders stand for (cel-go's ``isAssignable``)."""

    def __init__(self) -> None:
        self._bound: dict[str, Type] = {}
        self._count = 0

    def fresh(self) -> Type:
        self._count += 1
        return parameter(f"_var{self._count}")

    def fits(self, given: tuple[Type, ...], wanted: tuple[Type, ...]) -> bool:
        """True, and remembered, if each of ``given`` can stand where ``wanted`` is; otherwise nothing changes."""
        before = dict(self._bound)
        if len(given) == len(wanted) and all(map(self._assignable, given, wanted)):
            return True
        self._bound = before
        return False

    def resolve(self, one: Type, *, final: bool = False) -> Type:
        """The type with its placeholders replaced; ``final``: those still unknown are dyn."""
        if one.kind == "param":
            bound = self._bound.get(one.name)
            if bound is not None:
                return self.resolve(bound, final=final)
            return DYN if final else one
        if not one.parameters:
            return one
        return Type(one.kind, one.name, tuple(self.resolve(p, final=final) for p in one.parameters))

    def instantiate(self, *types: Type) -> tuple[Type, ...]:
        """A signature with placeholders of its own, so that two calls of one function do not meet."""
        names: dict[str, Type] = {}

        def renamed(one: Type) -> Type:
            if one.kind == "param":
                if one.name not in names:
                    names[one.name] = self.fresh()
                return names[one.name]
            if not one.parameters:
                return one
            return Type(one.kind, one.name, tuple(map(renamed, one.parameters)))

        return tuple(map(renamed, types))

    def _assignable(self, given: Type, wanted: Type) -> bool:
        if wanted.kind == "param":
            is_valid, has_bound = self._bind(given, wanted)
            if is_valid or has_bound:
                return is_valid
        if given.kind == "param":
            return self._bind(wanted, given)[0]
        if given.is_dyn or wanted.is_dyn:
            return True
        if given.kind == "null":
            return wanted.kind in NULLABLE
        if given.kind != wanted.kind:
            return False
        match given.kind:
            case "type":
                return True
            case "object":
                return given.name == wanted.name
            case "opaque" if given.name != wanted.name:
                return False
        if len(given.parameters) != len(wanted.parameters):
            return False
        return all(map(self._assignable, given.parameters, wanted.parameters))

    def _bind(self, one: Type, placeholder: Type) -> tuple[bool, bool]:
        """Whether ``one`` can be what the placeholder stands for, and whether it stood for something already."""
        bound = self._bound.get(placeholder.name)
        if bound is not None:
            if one == bound:
                return True, True
            if self._assignable(one, bound):
                self._bound[placeholder.name] = one if _is_less_specific(one, bound) else bound
                return True, True
            return False, True
        if one == placeholder or self._occurs(placeholder, one):
            return one == placeholder, False
        self._bound[placeholder.name] = one
        return True, False

    def _occurs(self, placeholder: Type, within: Type) -> bool:
        if within == placeholder:
            return True
        if within.kind == "param":
            bound = self._bound.get(within.name)
            return bound is not None and self._occurs(placeholder, bound)
        return any(self._occurs(placeholder, one) for one in within.parameters)


def most_general(one: Type, other: Type) -> Type:
    return one if _is_less_specific(one, other) else other


def _is_less_specific(one: Type, other: Type) -> bool:
    """Equal, or dyn where ``other`` says more."""
    if one.is_dyn or one.kind == "param":
        return True
    if other.is_dyn or other.kind == "param":
        return False
    if one.kind != other.kind or one.name != other.name or len(one.parameters) != len(other.parameters):
        return False
    return all(map(_is_less_specific, one.parameters, other.parameters))
