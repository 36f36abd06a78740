"""From OpenAPI schemas (of CRDs or built-in kinds) to CEL's types, and from JSON to typed values.

Kubernetes declares (``SchemaDeclType``, ``UnstructuredToVal``):

    object with properties          an object type; only declared fields exist, named by ``escape``
    object with additionalProperties  map(string, ...)
    array                           list(...), with the equality and addition of its x-kubernetes-list-type
    string                          string; bytes, timestamp or duration for the formats byte, date(-time), duration
    integer, number, boolean        int, double (also where JSON says 1), bool
    x-kubernetes-int-or-string      dyn
    anything else                   not visible: unknown data kept by x-kubernetes-preserve-unknown-fields is not typed
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kontinuum.api.machinery.cel import times
from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.errors import EvaluationError, no_such_key
from kontinuum.api.machinery.cel.types import Type
from kontinuum.api.machinery.cel.values import MapList, Record, SetList, equals

Convert = Callable[[Any], Any]
LARGEST_REQUEST = 3 * 1024 * 1024
"""Bytes of the largest request: what bounds a string, list or map without a limit of its own."""
SYMBOLS = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
RESERVED = frozenset({
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
    "loop", "package", "namespace", "return", "var", "void", "while",
})  # fmt: skip
NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_./-]*")


@dataclass(frozen=True, slots=True, eq=False)
class Declared:
    """A type with what its schema adds: how JSON becomes a value of it, and how large values can be."""

    type: Type
    convert: Convert | None = None
    """None if JSON is the value already. Raises EvaluationError."""
    largest: int = 1
    """The most characters, bytes, elements or entries of a value."""
    smallest_bytes: int = 0
    """The shortest JSON of a value."""
    items: Declared | None = None
    """Of a list's elements, or a map's values."""
    keys: Declared | None = None
    fields: Mapping[str, Declared] = field(default_factory=dict)
    json_name: str = ""
    """Of an object's field: its name in JSON."""


def escape(name: str) -> str | None:
    """A field's name as expressions write it; None if they cannot."""
    if not NAME.fullmatch(name):
        return None
    if name in RESERVED:
        return f"__{name}__"
    return re.sub(r"__|[./-]", lambda match: SYMBOLS[match[0]], name)


def declare(schema: Mapping[str, Any] | None, name: str, *, is_root: bool = False) -> Declared | None:
    """The type of a schema's values; None if expressions cannot see them.

    ``name`` names object types in messages; ``is_root``: apiVersion, kind, metadata.name and metadata.generateName
    exist in any case, as in custom resources and embedded ones.
    """
    if schema is None:
        return None
    if schema.get("x-kubernetes-int-or-string"):
        limit = schema.get("maxLength")
        return Declared(t.DYN, _nullable(schema, _int_or_string), _characters(limit), 1)
    if is_root:
        schema = _with_metadata(schema)
    match schema.get("type"):
        case "array":
            return _declare_list(schema, name)
        case "object":
            extra = schema.get("additionalProperties")
            return _declare_map(schema, extra, name) if isinstance(extra, Mapping) else _declare_object(schema, name)
        case "string":
            return _declare_text(schema)
        case "boolean":
            return Declared(t.BOOL, _nullable(schema, _boolean), 1, 4)
        case "number":
            return Declared(t.DOUBLE, _nullable(schema, _number), 1, 1)
        case "integer":
            return Declared(t.INT, _nullable(schema, _integer), 1, 1)
    return None


def _declare_list(schema: Mapping[str, Any], name: str) -> Declared | None:
    items = schema.get("items")
    element = declare(items, f"{name}.@idx", is_root=bool((items or {}).get("x-kubernetes-embedded-resource")))
    if element is None:
        return None
    limit = schema.get("maxItems")
    largest = max(limit, 0) if limit is not None else (LARGEST_REQUEST - 2) // (element.smallest_bytes + 1)
    kind, keys = schema.get("x-kubernetes-list-type"), tuple(schema.get("x-kubernetes-list-map-keys") or ())

    def convert(value: Any) -> Any:
        if not isinstance(value, list):
            raise EvaluationError("invalid data, expected an array for the provided schema with type=array")
        elements = value if element.convert is None else [element.convert(one) for one in value]
        if kind == "set":
            return SetList(elements)
        return MapList(elements, tuple(escape(key) or key for key in keys)) if kind == "map" else elements

    return Declared(t.list_of(element.type), _nullable(schema, convert), largest, 2, element)


def _declare_map(schema: Mapping[str, Any], extra: Mapping[str, Any], name: str) -> Declared | None:
    element = declare(extra, f"{name}.@elem", is_root=bool(extra.get("x-kubernetes-embedded-resource")))
    if element is None:
        return None
    limit = schema.get("maxProperties")
    largest = max(limit, 0) if limit is not None else (LARGEST_REQUEST - 2) // (element.smallest_bytes + 6)

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            raise EvaluationError("invalid data, expected a map for the provided schema with type=object")
        return value if element.convert is None else {key: element.convert(one) for key, one in value.items()}

    keys = Declared(t.STRING, None, LARGEST_REQUEST - 2, 2)
    return Declared(t.map_of(t.STRING, element.type), _nullable(schema, convert), largest, 2, element, keys)


def _declare_object(schema: Mapping[str, Any], name: str) -> Declared:
    fields: dict[str, Declared] = {}
    required = frozenset(schema.get("required") or ())
    smallest = 2
    for key, below in (schema.get("properties") or {}).items():
        made = declare(below, f"{name}.{key}", is_root=bool(below.get("x-kubernetes-embedded-resource")))
        if made is None:
            continue
        escaped = escape(key)
        if escaped is not None:
            fields[escaped] = _named(made, key)
        if key in required and below.get("default") is None:
            smallest += len(key) + made.smallest_bytes + 4
    return object_of(name, fields, nullable=bool(schema.get("nullable")), smallest=smallest)


def object_of(name: str, fields: Mapping[str, Declared], *, nullable: bool = False, smallest: int = 2) -> Declared:
    """An object type of its own: ``kubernetes.AdmissionRequest`` and its like."""
    type_ = Type("object", name, fields=fields)

    def convert(value: Any) -> Any:
        if value is None and nullable:
            return None
        if not isinstance(value, dict):
            raise EvaluationError("invalid data, expected a map for the provided schema with type=object")
        return Typed(type_, value)

    return Declared(type_, convert, 1, smallest, fields=fields)


def plain(type_: Type, json_name: str = "") -> Declared:
    """A declared type whose values need no conversion."""
    return Declared(type_, None, LARGEST_REQUEST, 0, json_name=json_name)


def _named(made: Declared, key: str) -> Declared:
    return Declared(
        made.type, made.convert, made.largest, made.smallest_bytes, made.items, made.keys, made.fields, json_name=key
    )


def _declare_text(schema: Mapping[str, Any]) -> Declared:
    limit = schema.get("maxLength")
    match schema.get("format"):
        case "byte":
            largest = max(limit, 0) if limit is not None else LARGEST_REQUEST - 2
            return Declared(t.BYTES, _nullable(schema, _binary), largest, 2)
        case "duration":
            return Declared(t.DURATION, _nullable(schema, _reading(times.parse_duration)), 32, 4)
        case "date":
            return Declared(t.TIMESTAMP, _nullable(schema, _reading(times.parse_date)), 12, 12)
        case "date-time":
            return Declared(t.TIMESTAMP, _nullable(schema, _reading(times.parse_timestamp)), 37, 22)
    allowed = [one for one in schema.get("enum") or () if isinstance(one, str)]
    if limit is None and allowed:
        return Declared(t.STRING, _nullable(schema, _text), max(map(len, allowed)), 2)
    return Declared(t.STRING, _nullable(schema, _text), _characters(limit), 2)


def _characters(limit: int | None) -> int:
    """A limit counts characters, a request bytes; a character takes up to four."""
    return max(limit, 0) * 4 if limit is not None else LARGEST_REQUEST - 2


def _with_metadata(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    text = {"type": "string"}
    known = schema.get("properties") or {}
    metadata = known.get("metadata") or {}
    named = {"name": text, "generateName": text}
    if "properties" in metadata:
        named = {**metadata["properties"], **named}
    always = {"kind": text, "apiVersion": text, "metadata": {"type": "object", "properties": named}}
    return {**schema, "type": "object", "properties": {**known, **always}}


class Typed(Record):
    """A JSON object of a declared type; a field becomes a value when it is selected."""

    __slots__ = ("_type", "raw")

    def __init__(self, type_: Type, raw: dict[str, Any]) -> None:
        self._type = type_
        self.raw = raw

    @property
    def type(self) -> Type:
        return self._type

    def select(self, name: str) -> Any:
        declared: Declared | None = self._type.fields.get(name)
        key = (declared.json_name or name) if declared is not None else name
        if declared is None or key not in self.raw:
            raise no_such_key(name)
        value = self.raw[key]
        return value if declared.convert is None else declared.convert(value)

    def has(self, name: str) -> bool:
        declared: Declared | None = self._type.fields.get(name)
        return declared is not None and (declared.json_name or name) in self.raw

    def equals(self, other: Any) -> bool:
        """What the schema does not know counts as well."""
        if not isinstance(other, Typed) or self.raw.keys() != other.raw.keys():
            return False
        known = {declared.json_name or name: declared for name, declared in self._type.fields.items()}
        for key, value in self.raw.items():
            convert = known[key].convert if key in known else None
            mine, theirs = (value, other.raw[key]) if convert is None else (convert(value), convert(other.raw[key]))
            if not equals(mine, theirs):
                return False
        return True

    def to_json(self) -> Any:
        return self.raw


def _nullable(schema: Mapping[str, Any], convert: Convert) -> Convert:
    is_nullable = bool(schema.get("nullable"))

    def checked(value: Any) -> Any:
        if value is not None:
            return convert(value)
        if is_nullable:
            return None
        raise EvaluationError("invalid data, got null for schema with nullable=false")

    return checked


def _int_or_string(value: Any) -> Any:
    if isinstance(value, str) or type(value) is int:
        return value
    raise EvaluationError("invalid data, expected XIntOrString value to be either a string or integer")


def _boolean(value: Any) -> Any:
    return _expected(value, "bool", is_right=isinstance(value, bool))


def _integer(value: Any) -> Any:
    # JSON that went through a float keeps its meaning: 1.0 is 1.
    if type(value) is float and value.is_integer():
        return int(value)
    return _expected(value, "int", is_right=type(value) is int)


def _number(value: Any) -> Any:
    return float(_expected(value, "float", is_right=type(value) in (int, float)))


def _text(value: Any) -> Any:
    return _expected(value, "string", is_right=isinstance(value, str))


def _binary(value: Any) -> bytes:
    try:
        return base64.b64decode(_text(value), validate=True)
    except (binascii.Error, ValueError) as error:
        raise EvaluationError(f"Invalid byte formatted string: {error}") from error


def _reading(parse: Callable[[str], Any]) -> Convert:
    return lambda value: parse(_text(value))


def _expected(value: Any, name: str, *, is_right: bool) -> Any:
    if is_right:
        return value
    raise EvaluationError(f"invalid data, expected {name}, got {type(value).__name__}")
