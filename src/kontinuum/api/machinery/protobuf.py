"""Kubernetes' protobuf bodies (``application/vnd.kubernetes.protobuf``) as JSON objects.

kubectl and Helm send some requests in this form and take the answers as JSON. A body is the magic ``k8s\\0`` and a
``runtime.Unknown``: apiVersion and kind, and the object's own bytes. The field numbers come from a table that
``tools/generate_protobuf.py`` writes, a message a line:

    k8s.io.api.core.v1.Secret 1:metadata:>k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta 2:data:{y 3:type:s 5:...

``s`` text, ``i`` integer, ``b`` truth value, ``d`` double, ``y`` bytes, ``>`` a message (``>.`` of the same package),
``*`` a list, ``{`` a map from text, ``^`` a message whose fields stand beside the others in JSON, ``!`` a value whose
zero is kept.

The wire does not tell an absent value from a zero where Go's struct has no pointer: Go writes those fields always. So
plain zeros are dropped, as Go's ``omitempty`` does, but where they mean something (``!``).
"""

from __future__ import annotations

import struct
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.clock import rfc3339
from kontinuum.foundation.errors import Refused

MAGIC = b"k8s\x00"
TABLE = Path(__file__).parent / "protobuf_fields.txt"
UNKNOWN = "k8s.io.apimachinery.pkg.runtime.Unknown"
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
DEFINITIONS = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions"
PACKAGES = {
    "apiextensions.k8s.io": DEFINITIONS,
    "apiregistration.k8s.io": "k8s.io.kube_aggregator.pkg.apis.apiregistration",
}
"""Groups whose messages do not lie beside the others."""


class BadProtobuf(Refused):
    """The bytes are no Kubernetes protobuf body, or of a kind that is not in the table."""


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    form: str
    """``s i b d y`` or ``>`` for a message."""
    message: str = ""
    is_list: bool = False
    is_map: bool = False
    is_embedded: bool = False
    keeps_zero: bool = False


def decode(body: bytes) -> Object:
    """The JSON object that ``body`` describes. Raises BadProtobuf."""
    if body[:4] != MAGIC:
        raise BadProtobuf("the body does not begin with the four bytes of Kubernetes' protobuf form")
    try:
        envelope = _decode_message(memoryview(body)[4:], UNKNOWN, raw=True)
        meta = envelope.get("typeMeta") or {}
        api_version, kind = meta.get("apiVersion", ""), meta.get("kind", "")
        message = message_of(api_version, kind)
        content = _decode_message(memoryview(envelope.get("raw", b"")), message)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise BadProtobuf(f"the protobuf body is cut short or corrupt: {error}") from error
    return {"kind": kind, "apiVersion": api_version, **content}


def message_of(api_version: str, kind: str) -> str:
    """The message of a kind: ``k8s.io.api.apps.v1.Deployment``. Raises BadProtobuf."""
    group, _, version = api_version.rpartition("/")
    package = PACKAGES.get(group) or f"k8s.io.api.{group.split('.')[0] or 'core'}"
    for candidate in (f"{package}.{version}.{kind}", f"k8s.io.apimachinery.pkg.apis.meta.v1.{kind}"):
        if candidate in _lines():
            return candidate
    raise BadProtobuf(f"no protobuf form is known of {kind} in version {api_version}")


@cache
def _lines() -> dict[str, str]:
    return {line.partition(" ")[0]: line for line in TABLE.read_text().splitlines()}


@cache
def fields_of(message: str) -> dict[int, Field]:
    """The fields of a message by their numbers. Raises BadProtobuf."""
    if message not in _lines():
        raise BadProtobuf(f"the protobuf message {message} is not known")
    package = message.rpartition(".")[0]
    fields = {}
    for part in _lines()[message].split(" ")[1:]:
        number, name, code = part.split(":")
        kind = code.lstrip("^!*{")
        target = kind[1:]
        fields[int(number)] = Field(
            name,
            kind[0],
            message=package + target if target.startswith(".") else target,
            is_list="*" in code,
            is_map="{" in code,
            is_embedded="^" in code,
            keeps_zero="!" in code,
        )
    return fields


def _decode_message(data: memoryview, message: str, *, raw: bool = False) -> Any:
    """With ``raw``, byte fields stay bytes (the envelope) instead of becoming base64."""
    fields = fields_of(message)
    result: Object = {}
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        value, position = _value(data, position, tag & 7)
        field = fields.get(tag >> 3)
        if field is not None:
            _store(result, field, value, raw=raw)
    special = SPECIAL.get(message)
    return special(result) if special else result


def _store(result: Object, field: Field, value: Any, *, raw: bool) -> None:
    if isinstance(value, int) and (field.is_map or field.form not in "ib"):
        raise IndexError(f"{field.name} is a number on the wire")
    if field.is_map:
        key, one = _map_entry(value, field)
        result.setdefault(field.name, {})[key] = one
        return
    if field.is_list and field.form in "ib" and isinstance(value, memoryview):
        result.setdefault(field.name, []).extend(_packed(value, field))
        return
    decoded: Any = bytes(value) if raw and field.form == "y" else _decode_value(value, field)
    if field.is_list:
        result.setdefault(field.name, []).append(decoded)
    elif field.is_embedded:
        result.update(decoded)
    elif decoded is not None and (decoded or field.form == ">" or field.keeps_zero):
        result[field.name] = decoded


def _decode_value(value: Any, field: Field) -> Any:
    match field.form:
        case "s":
            return str(value, "utf-8")
        case "i" | "b" if not isinstance(value, int):
            raise IndexError(f"{field.name} is no number on the wire")
        case "i":
            return value - (1 << 64) if value >= 1 << 63 else value
        case "b":
            return bool(value)
        case "d":
            return _plain_number(struct.unpack("<d", value)[0])
        case "y":
            return b64encode(value).decode()
        case _:
            return _decode_message(value, field.message)


def _plain_number(value: float) -> int | float:
    """As Go writes it in JSON: 1, not 1.0."""
    return int(value) if value.is_integer() else value


def _map_entry(data: memoryview, field: Field) -> tuple[str, Any]:
    """A map is a list of messages with the key as field 1 and the value as field 2; either may be left out if empty."""
    key = ""
    value: Any = _decode_value(memoryview(b""), field) if field.form in "sy>" else 0
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        part, position = _value(data, position, tag & 7)
        if tag >> 3 == 1:
            key = str(bytes(part), "utf-8") if not isinstance(part, int) else str(part)
        elif isinstance(part, int) and field.form not in "ib":
            raise IndexError(f"a value of {field.name} is a number on the wire")
        else:
            value = _decode_value(part, field)
    return key, value


def _packed(data: memoryview, field: Field) -> list[Any]:
    values, position = [], 0
    while position < len(data):
        value, position = _varint(data, position)
        values.append(_decode_value(value, field))
    return values


def _value(data: memoryview, position: int, wire_type: int) -> tuple[Any, int]:
    if wire_type == LENGTH:
        length, position = _varint(data, position)
        end = position + length
        if end > len(data):
            raise IndexError("a field is longer than its message")
        return data[position:end], end
    if wire_type == VARINT:
        return _varint(data, position)
    if wire_type in (FIXED64, FIXED32):
        end = position + (8 if wire_type == FIXED64 else 4)
        return data[position:end], end
    raise IndexError(f"unknown wire type {wire_type}")


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
        if shift > 63:
            raise IndexError("a number is longer than ten bytes")


def _time(fields: Object) -> str | None:
    seconds = fields.get("seconds", 0)
    try:
        return rfc3339(seconds) if fields else None
    except (ValueError, OverflowError, OSError) as error:
        raise BadProtobuf(f"{seconds} seconds since 1970 is no time: {error}") from error


def _micro_time(fields: Object) -> str | None:
    second = _time(fields)
    # Not as one floating point number, which has no microseconds left in distant years.
    return f"{second[:-1]}.{fields.get('nanos', 0) // 1000:06d}Z" if second else None


def _int_or_string(fields: Object) -> Any:
    return fields.get("strVal", "") if fields.get("type") else fields.get("intVal", 0)


def _embedded_json(fields: Object) -> Any:
    """The one field holds JSON text; it has become base64 on the way here because its type is bytes."""
    text = b64decode(next(iter(fields.values()), ""))
    try:
        return orjson.loads(text) if text else None
    except orjson.JSONDecodeError as error:
        raise BadProtobuf(f"an embedded object is no JSON: {error}") from error


def _items(fields: Object) -> Any:
    return fields.get("items", [])


def _schema_or_schemas(fields: Object) -> Any:
    return fields["schema"] if "schema" in fields else fields.get("jSONSchemas", [])


def _schema_or_truth(fields: Object) -> Any:
    return fields["schema"] if "schema" in fields else fields.get("allows", False)


def _schema_or_names(fields: Object) -> Any:
    return fields["schema"] if "schema" in fields else fields.get("property", [])


META = "k8s.io.apimachinery.pkg.apis.meta.v1"
SPECIAL: dict[str, Callable[[Object], Any]] = {
    "k8s.io.apimachinery.pkg.api.resource.Quantity": lambda fields: fields.get("string", "0"),
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": _int_or_string,
    "k8s.io.apimachinery.pkg.runtime.RawExtension": _embedded_json,
    f"{META}.FieldsV1": _embedded_json,
    f"{META}.Time": _time,
    f"{META}.MicroTime": _micro_time,
    f"{META}.Verbs": _items,
    f"{DEFINITIONS}.v1.JSON": _embedded_json,
    f"{DEFINITIONS}.v1.JSONSchemaPropsOrArray": _schema_or_schemas,
    f"{DEFINITIONS}.v1.JSONSchemaPropsOrBool": _schema_or_truth,
    f"{DEFINITIONS}.v1.JSONSchemaPropsOrStringArray": _schema_or_names,
    "k8s.io.api.authentication.v1.ExtraValue": _items,
    "k8s.io.api.authorization.v1.ExtraValue": _items,
    "k8s.io.api.certificates.v1.ExtraValue": _items,
}
"""Messages that are one plain value in JSON."""
