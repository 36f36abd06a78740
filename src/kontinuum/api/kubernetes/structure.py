"""Does a decoded body have the structure of its kind? One walk prunes, checks types and writes values canonically.

What a real API server does by decoding into Go structs happens here: fields that the kind does not have are dropped
(and named, for ``fieldValidation``), nulls and empty lists mean absent, quantities and times take their canonical form,
and a value of the wrong type is refused in the words of Go's JSON decoder. What is *required* is a matter of
validation, not of structure: Kubernetes does it the same way.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kontinuum.api.kubernetes.schema import Definition, Type, definition, definition_of
from kontinuum.api.kubernetes.soundness import ALWAYS, Soundness
from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import bad_request
from kontinuum.foundation.clock import parse_rfc3339, rfc3339, rfc3339_micro

SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
GO_NAMES = {
    "double": "float64", "quantity": "resource.Quantity", "time": "string", "micro-time": "string",
    "int-or-string": "intstr.IntOrString", "bytes": "[]uint8", "any": "interface {}",
}  # fmt: skip


EMPTY_IS_ABSENT = ("list", "map")
"""Go writes neither empty lists nor empty maps (``omitempty``); an empty object may mean something: ``emptyDir``."""


class Mismatch(Exception):
    """A value that the field's type cannot hold. ``path`` and ``struct`` are filled in on the way out of the walk."""

    def __init__(self, problem: str, go_type: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.go_type = go_type
        self.struct = ""
        self.path: list[str] = []

    def __str__(self) -> str:
        if not self.go_type:
            return self.problem
        return f"json: {self.problem} into Go struct field {self.struct}.{'.'.join(self.path)} of type {self.go_type}"


def conform(doc: Object, api_version: str, kind: str) -> list[str]:
    """Bring ``doc`` into the structure of its kind, in place; returns the paths of the unknown fields it had.

    Raises ApiError 400 for a value of the wrong type; KeyError if the kind has no schema.
    """
    try:
        return conform_to(doc, definition_of(api_version, kind))
    except Mismatch as mismatch:
        version = api_version.rpartition("/")[2]
        raise bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {mismatch}') from None


def strict_error(kind: str, api_version: str, problems: list[str]) -> Exception:
    """The 400 of ``fieldValidation=Strict``; ``problems`` as ``field_problems`` makes them."""
    version = api_version.rpartition("/")[2]
    return bad_request(
        f'{kind} in version "{version}" cannot be handled as a {kind}: strict decoding error: {", ".join(problems)}'
    )


def field_problems(unknown: Sequence[str], duplicate: Sequence[str]) -> list[str]:
    """What Strict refuses and Warn warns about, one text each."""
    return [_duplicate(path) for path in duplicate] + [_unknown(path) for path in unknown]


def field_problems_in_order(
    unknown: Sequence[str], duplicate: Sequence[str], places: Mapping[str, Sequence[int]]
) -> list[str]:
    """As ``field_problems``, in the order of the document, which is that of Go's decoder.

    It does not look into a field that it does not know. ``places`` are as ``codecs.field_places`` gives them.
    """
    skipped = tuple(f"{path}{mark}" for path in unknown for mark in (".", "["))
    seen = [path for path in dict.fromkeys(duplicate) if path not in unknown and not path.startswith(skipped)]
    found = [(places.get(path, (0,))[0], _unknown(path)) for path in unknown]
    found += [(places[path][1], _duplicate(path)) for path in seen]
    return [text for _, text in sorted(found)]


def _unknown(path: str) -> str:
    return f'unknown field "{path}"'


def _duplicate(path: str) -> str:
    return f'duplicate field "{path}"'


def conform_to(doc: Object, shape: Definition) -> list[str]:
    """As ``conform``, for any definition. Raises Mismatch."""
    return [] if _soundness.is_sound(doc, shape) else _conform_fields(doc, shape)


def _conform_fields(doc: Object, shape: Definition) -> list[str]:
    unknown: list[str] = []
    absent: list[str] = []
    fields = shape.fields
    for key, value in doc.items():
        kind = fields.get(key)
        if kind is None:
            unknown.append(key)
            absent.append(key)
        elif value is None:
            absent.append(key)
        elif kind.form == "string" and type(value) is str:
            pass  # Most values of most objects.
        else:
            known = len(unknown)
            try:
                doc[key] = conformed = _conform_value(value, kind, unknown)
                if kind.form in EMPTY_IS_ABSENT and not conformed:
                    absent.append(key)
                if len(unknown) > known:
                    _place(unknown, known, key, kind)
            except Mismatch as mismatch:
                mismatch.path.insert(0, key)
                mismatch.struct = mismatch.struct or shape.short_name
                raise
    for key in absent:
        del doc[key]
    for key in ALWAYS.get(shape.name, ()):
        doc.setdefault(key, "")
    return unknown


def _conform_value(value: Any, kind: Type, unknown: list[str]) -> Any:
    """The canonical form of one present value; unknown fields below it are added to ``unknown``, as seen from it."""
    form = kind.form
    if form == "string":
        if type(value) is not str:
            raise _mismatch(value, kind)
        return value
    if form == "object":
        if type(value) is not dict:
            raise _mismatch(value, kind)
        unknown.extend(_conform_fields(value, definition(kind.definition)))
        return value
    if form == "list":
        return _conform_list(value, kind, unknown)
    if form == "map":
        return _conform_map(value, kind, unknown)
    return SCALARS[form](value, kind)


def _place(unknown: list[str], start: int, where: str, kind: Type) -> None:
    """``where`` leads to a value of this ``kind``, and so do from now on the paths from ``start`` on.

    Nearly no object has unknown fields, so their paths are put together on the way out of the walk.
    """
    before = where if kind.form == "list" else f"{where}."
    unknown[start:] = [before + below for below in unknown[start:]]


def _conform_list(value: Any, kind: Type, unknown: list[str]) -> Any:
    element = kind.element
    if type(value) is not list or element is None:
        raise _mismatch(value, kind)
    for index, one in enumerate(value):
        filled = zero(element) if one is None else one
        known = len(unknown)
        value[index] = _conform_value(filled, element, unknown)
        if len(unknown) > known:
            _place(unknown, known, f"[{index}]", element)
    return value


def _conform_map(value: Any, kind: Type, unknown: list[str]) -> Any:
    element = kind.element
    if type(value) is not dict or element is None:
        raise _mismatch(value, kind)
    for key, one in value.items():
        filled = zero(element) if one is None else one
        known = len(unknown)
        value[key] = _conform_value(filled, element, unknown)
        if len(unknown) > known:
            _place(unknown, known, key, element)
    return value


def zero(kind: Type) -> Any:
    """What Go makes of a null inside a list or map."""
    zeros: dict[str, Any] = {"object": {}, "map": {}, "list": [], "bool": False, "int32": 0, "int64": 0, "double": 0}
    return zeros.get(kind.form, "0" if kind.form == "quantity" else "")


def _bool(value: Any, kind: Type) -> Any:
    if type(value) is not bool:
        raise _mismatch(value, kind)
    return value


def _integer(value: Any, kind: Type) -> Any:
    least, most = RANGES[kind.form]
    if type(value) is not int or not least <= value <= most:
        raise _mismatch(value, kind)
    return value


def _double(value: Any, kind: Type) -> Any:
    if type(value) is not int and type(value) is not float:
        raise _mismatch(value, kind)
    return value


def _bytes(value: Any, kind: Type) -> Any:
    if type(value) is not str:
        raise _mismatch(value, kind)
    try:
        b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        wrong = re.match(r"[A-Za-z0-9+/]*", value)
        raise Mismatch(f"illegal base64 data at input byte {wrong.end() if wrong else 0}") from None
    return value


def _time(value: Any, kind: Type) -> Any:
    if type(value) is not str:
        raise Mismatch(f"json: cannot unmarshal {_json_kind(value)} into Go value of type string")
    if kind.form == "time" and SECONDS.fullmatch(value):
        return value
    write = rfc3339 if kind.form == "time" else rfc3339_micro
    layout = "2006-01-02T15:04:05Z07:00" if kind.form == "time" else "2006-01-02T15:04:05.000000Z07:00"
    try:
        if "T" not in value:
            raise ValueError(value)
        return write(parse_rfc3339(value))
    except ValueError:
        raise Mismatch(f'parsing time "{value}" as "{layout}": cannot parse "{value}" as "2006"') from None


def _quantity(value: Any, kind: Type) -> Any:
    if type(value) not in (str, int, float):
        raise _mismatch(value, kind)
    try:
        return quantity.canonical(value)
    except quantity.InvalidQuantity as problem:
        raise Mismatch(str(problem)) from None


def _int_or_string(value: Any, kind: Type) -> Any:
    if type(value) is not int and type(value) is not str:
        raise _mismatch(value, kind)
    return value


def _any(value: Any, kind: Type) -> Any:
    return value


SCALARS: dict[str, Callable[[Any, Type], Any]] = {
    "bool": _bool, "int32": _integer, "int64": _integer, "double": _double, "bytes": _bytes, "time": _time,
    "micro-time": _time, "quantity": _quantity, "int-or-string": _int_or_string, "any": _any,
}  # fmt: skip


def _is_canonical(form: str, value: Any) -> bool:
    try:
        return type(value) is str and SCALARS[form](value, Type(form)) == value
    except Mismatch:
        return False


_soundness = Soundness(_is_canonical)


def _mismatch(value: Any, kind: Type) -> Mismatch:
    return Mismatch(f"cannot unmarshal {_json_kind(value)}", _go_type(kind))


def _json_kind(value: Any) -> str:
    """Go's name for the kind of a JSON value; a number that does not fit is shown."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, float) or (isinstance(value, int) and abs(value) > 2**31):
        return f"number {value}"
    return {str: "string", int: "number", list: "array", dict: "object"}.get(type(value), "null")


def _go_type(kind: Type) -> str:
    if kind.form == "object":
        return ".".join(kind.definition.split(".")[-2:])
    if kind.form == "list" and kind.element is not None:
        return f"[]{_go_type(kind.element)}"
    if kind.form == "map" and kind.element is not None:
        return f"map[string]{_go_type(kind.element)}"
    return GO_NAMES.get(kind.form, kind.form)
