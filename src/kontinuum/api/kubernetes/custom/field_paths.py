"""Paths from one node of a schema to another (``.spec.list['key']``): ``fieldPath`` and ``selectableFields``."""

from __future__ import annotations

import re

from kontinuum.api.kubernetes.custom.schema import Schema
from kontinuum.foundation.errors import Refused

TOKEN = re.compile(r"'(?:[^'\\]|\\.)*'|[.\[\]]|[^.\[\]]+")


class BadFieldPath(Refused):
    """The path leads nowhere; the text says why."""


def find_field(schema: Schema, text: str, *, brackets: bool = True) -> tuple[Schema, str]:
    """The node that the path leads to, and the path as errors name it: ``spec.list[key]``. Raises BadFieldPath."""
    tokens = iter(TOKEN.findall(text))
    path = ""
    for token in tokens:
        if token not in ".[" or (token == "[" and not brackets):
            problem = "array notation is not allowed" if token == "[" else f"expected [ or . but got: {token}"
            raise BadFieldPath(problem)
        name = next(tokens, None)
        if name is None:
            raise BadFieldPath("unexpected end of JSON path")
        if token == "[":
            name = _unquoted(name, next(tokens, None))
        below, is_key = (schema.properties.get(name), False) if schema.properties else (schema.additional, True)
        if below is None:
            raise BadFieldPath("does not refer to a valid field")
        schema = below
        path += f"[{name}]" if is_key else f".{name}"
    return schema, path.removeprefix(".")


def _unquoted(name: str, closing: str | None) -> str:
    if len(name) < 2 or name[0] != "'" or name[-1] != "'":
        raise BadFieldPath(f"expected single quoted string but got {name}")
    if closing != "]":
        raise BadFieldPath("unexpected end of JSON path" if closing is None else f"expected ] but got {closing}")
    return re.sub(r"\\(.)", r"\1", name[1:-1])
