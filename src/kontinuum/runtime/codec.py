"""Protocol Buffers for the few messages of a shim: a codec driven by the messages' own type annotations.

A message is a ``msgspec.Struct`` whose fields say type and number in one line: ``id: Annotated[str, 1] = ""``. Known
types: str, bytes, int (varint: every unsigned number, enums, int64), bool, another message (``| None``), and tuples of
those for repeated fields. Google's protobuf package would cost every pod two megabytes; this costs nothing.

Rules of the wire: https://protobuf.dev/programming-guides/encoding/ (proto3: defaults are not written, unknown fields
are skipped, the last of a repeated singular field wins).
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from kontinuum.foundation.errors import Refused

M = TypeVar("M", bound=msgspec.Struct)

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MASK = (1 << 64) - 1


class Malformed(Refused):
    """These bytes are no message of the expected kind."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field on the wire."""

    name: str
    number: int
    kind: type
    """``str``, ``bytes``, ``int``, ``bool`` or a message class."""
    repeated: bool

    @property
    def wire_type(self) -> int:
        return _VARINT if self.kind in (int, bool) else _BYTES


@cache
def fields(message: type[msgspec.Struct]) -> tuple[Field, ...]:
    """The fields of a message class, in the order of their declaration."""
    hints = get_type_hints(message, include_extras=True)
    return tuple(_field(name, hint) for name, hint in hints.items())


def encode(message: msgspec.Struct) -> bytes:
    """The message's bytes."""
    out = bytearray()
    for field in fields(type(message)):
        value = getattr(message, field.name)
        for item in value if field.repeated else (value,):
            # A repeated field writes each item, also an empty one; a single field leaves its default out.
            if field.repeated or item or isinstance(item, msgspec.Struct):
                _write(out, field, item)
    return bytes(out)


def decode(message: type[M], data: bytes) -> M:
    """A message of class ``message`` from its bytes. Raises Malformed."""
    known = _by_number(message)
    values: dict[str, Any] = {}
    position = 0
    while position < len(data):
        key, position = _read_varint(data, position)
        number, wire_type = key >> 3, key & 7
        raw, position = _read_value(data, position, wire_type)
        field = known.get(number)
        if field is None:
            continue
        if wire_type != field.wire_type:
            raise Malformed(f"{message.__name__}.{field.name}: wire type {wire_type}, expected {field.wire_type}")
        value = _convert(field, raw)
        values[field.name] = (*values.get(field.name, ()), value) if field.repeated else value
    return message(**values)


@cache
def _by_number(message: type[msgspec.Struct]) -> dict[int, Field]:
    return {field.number: field for field in fields(message)}


def _field(name: str, hint: Any) -> Field:
    kind, number = get_args(hint)
    repeated = get_origin(kind) is tuple
    if repeated:
        kind = get_args(kind)[0]
    elif get_origin(kind) in (Union, types.UnionType):
        (kind,) = (one for one in get_args(kind) if one is not type(None))
    return Field(name, number, kind, repeated)


def _write(out: bytearray, field: Field, value: Any) -> None:
    _write_varint(out, field.number << 3 | field.wire_type)
    if field.wire_type == _VARINT:
        _write_varint(out, int(value))
        return
    if field.kind is str:
        # surrogateescape: a file name that is not UTF-8 must come out as it went in.
        data = value.encode(errors="surrogateescape")
    else:
        data = value if field.kind is bytes else encode(value)
    _write_varint(out, len(data))
    out += data


def _write_varint(out: bytearray, number: int) -> None:
    number &= _MASK
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    # Ten bytes of seven bits hold 64; an eleventh can only be garbage.
    for byte in data[position : position + 10]:
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & _MASK, position
        shift += 7
    raise Malformed("a number does not end")


def _read_value(data: bytes, position: int, wire_type: int) -> tuple[int | bytes, int]:
    if wire_type == _VARINT:
        return _read_varint(data, position)
    if wire_type == _BYTES:
        length, position = _read_varint(data, position)
    elif wire_type in (_FIXED64, _FIXED32):
        length = 8 if wire_type == _FIXED64 else 4
    else:
        raise Malformed(f"wire type {wire_type} is not in use")
    if position + length > len(data):
        raise Malformed("the message is cut off")
    return data[position : position + length], position + length


_SCALARS: dict[type, Callable[[Any], Any]] = {
    str: lambda raw: raw.decode(errors="surrogateescape"),
    bytes: bytes,
    int: int,
    bool: bool,
}


def _convert(field: Field, raw: int | bytes) -> Any:
    scalar = _SCALARS.get(field.kind)
    return scalar(raw) if scalar else decode(field.kind, bytes(raw))
