"""An OpenAPI v2 document in protobuf (``openapi.v2.Document`` of the gnostic project), which kubectl insists on.

Only the parts of the message that our documents use are written. The field numbers are facts of the wire format and are
held by a test against the descriptors inside a kubectl binary.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

FIELDS = {
    "Document": {"swagger": 1, "info": 2, "paths": 8, "definitions": 9},
    "Info": {"title": 1, "version": 2},
    "Paths": {"path": 2},
    "PathItem": {"get": 2, "put": 3, "post": 4, "delete": 5, "options": 6, "head": 7, "patch": 8, "parameters": 9},
    "Operation": {
        "tags": 1, "description": 3, "operation_id": 5, "consumes": 7, "parameters": 8, "responses": 9,
        "vendor_extension": 13,
    },
    "Responses": {"response_code": 1},
    "ResponseValue": {"response": 1},
    "Response": {"description": 1},
    "ParametersItem": {"parameter": 1},
    "Parameter": {"non_body_parameter": 2},
    "NonBodyParameter": {"query_parameter_sub_schema": 3, "path_parameter_sub_schema": 4},
    "QueryParameterSubSchema": {"required": 1, "in": 2, "name": 4, "type": 6, "unique_items": 20},
    "PathParameterSubSchema": {"required": 1, "in": 2, "name": 4, "type": 5, "unique_items": 19},
    "Definitions": {"additional_properties": 1},
    "Properties": {"additional_properties": 1},
    "NamedSchema": {"name": 1, "value": 2},
    "NamedPathItem": {"name": 1, "value": 2},
    "NamedResponseValue": {"name": 1, "value": 2},
    "NamedAny": {"name": 1, "value": 2},
    "Any": {"yaml": 2},
    "Schema": {
        "_ref": 1, "format": 2, "description": 4, "required": 19, "enum": 20, "additional_properties": 21, "type": 22,
        "items": 23, "properties": 25, "vendor_extension": 31,
    },
    "AdditionalPropertiesItem": {"schema": 1},
    "ItemsItem": {"schema": 1},
    "TypeItem": {"value": 1},
}  # fmt: skip
EXTENSION = "x-"


def encode(document: dict[str, Any]) -> bytes:
    """The document's bytes. It has ``swagger``, ``info``, ``paths`` and ``definitions``, as ``openapi`` makes them.

    Operations of extension servers may say less than ours. Raises KeyError, TypeError, ValueError, AttributeError for
    what is no such document.
    """
    write = _Message("Document")
    write.text("swagger", document["swagger"])
    info = _Message("Info")
    for name, value in document["info"].items():
        info.text(name, value)
    write.message("info", info)
    paths = _Message("Paths")
    for path, item in document["paths"].items():
        paths.message("path", _named("NamedPathItem", path, _path_item(item)))
    write.message("paths", paths)
    definitions = _Message("Definitions")
    for name, schema in document["definitions"].items():
        definitions.message("additional_properties", _named("NamedSchema", name, _schema(schema)))
    write.message("definitions", definitions)
    return write.done()


class _Message:
    """Fields of one message, appended by name."""

    def __init__(self, kind: str) -> None:
        self._numbers = FIELDS[kind]
        self._parts: list[bytes] = []

    def text(self, name: str, value: str) -> None:
        self._bytes(self._numbers[name], value.encode())

    def flag(self, name: str, value: bool) -> None:
        if value:
            self._parts.append(_varint(self._numbers[name] << 3) + b"\x01")

    def message(self, name: str, value: _Message) -> None:
        self._bytes(self._numbers[name], value.done())

    def texts(self, name: str, values: Iterable[str]) -> None:
        for value in values:
            self.text(name, value)

    def extensions(self, source: dict[str, Any]) -> None:
        """``x-...`` members; their values travel as YAML text."""
        for name, value in source.items():
            if name.startswith(EXTENSION):
                self.message("vendor_extension", _named("NamedAny", name, _any(value)))

    def done(self) -> bytes:
        return b"".join(self._parts)

    def _bytes(self, number: int, value: bytes) -> None:
        self._parts.append(_varint(number << 3 | 2) + _varint(len(value)) + value)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _named(kind: str, name: str, value: _Message) -> _Message:
    pair = _Message(kind)
    pair.text("name", name)
    pair.message("value", value)
    return pair


def _any(value: Any) -> _Message:
    found = _Message("Any")
    import yaml  # only a kubectl that wants protobuf asks, and it is slow to import

    found.text("yaml", yaml.safe_dump(value))
    return found


def _path_item(item: dict[str, Any]) -> _Message:
    found = _Message("PathItem")
    for name, value in item.items():
        if name == "parameters":
            for parameter in value:
                found.message("parameters", _parameter(parameter))
        elif not name.startswith(EXTENSION):
            found.message(name, _operation(value))
    return found


def _operation(operation: dict[str, Any]) -> _Message:
    found = _Message("Operation")
    found.texts("tags", operation.get("tags", ()))
    found.text("operation_id", operation.get("operationId", ""))
    found.texts("consumes", operation.get("consumes", ()))
    for parameter in operation.get("parameters", ()):
        # Nobody who asks for protobuf reads what bodies and answers look like.
        if parameter["in"] in ("path", "query"):
            found.message("parameters", _parameter(parameter))
    responses = _Message("Responses")
    for code, response in operation["responses"].items():
        described, value = _Message("Response"), _Message("ResponseValue")
        described.text("description", response.get("description", ""))
        value.message("response", described)
        responses.message("response_code", _named("NamedResponseValue", code, value))
    found.message("responses", responses)
    found.extensions(operation)
    return found


def _parameter(parameter: dict[str, Any]) -> _Message:
    place = parameter["in"]
    inner = _Message("QueryParameterSubSchema" if place == "query" else "PathParameterSubSchema")
    inner.flag("required", parameter.get("required", False))
    inner.text("in", place)
    inner.text("name", parameter["name"])
    inner.text("type", parameter.get("type", ""))
    inner.flag("unique_items", parameter.get("uniqueItems", False))
    for kind, field in (
        ("NonBodyParameter", f"{place}_parameter_sub_schema"),
        ("Parameter", "non_body_parameter"),
        ("ParametersItem", "parameter"),
    ):
        outer = _Message(kind)
        outer.message(field, inner)
        inner = outer
    return inner


def _schema(schema: dict[str, Any]) -> _Message:
    found = _Message("Schema")
    for name, field in (("$ref", "_ref"), ("format", "format"), ("description", "description")):
        if name in schema:
            found.text(field, schema[name])
    found.texts("required", schema.get("required", ()))
    for value in schema.get("enum", ()):
        found.message("enum", _any(value))
    if "type" in schema:
        kind = _Message("TypeItem")
        kind.text("value", schema["type"])
        found.message("type", kind)
    for name, field, wrapper in (
        ("additionalProperties", "additional_properties", "AdditionalPropertiesItem"),
        ("items", "items", "ItemsItem"),
    ):
        if isinstance(schema.get(name), dict):
            inner = _Message(wrapper)
            inner.message("schema", _schema(schema[name]))
            found.message(field, inner)
    if "properties" in schema:
        properties = _Message("Properties")
        for name, value in schema["properties"].items():
            properties.message("additional_properties", _named("NamedSchema", name, _schema(value)))
        found.message("properties", properties)
    found.extensions(schema)
    return found
