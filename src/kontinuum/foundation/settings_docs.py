"""What the settings say about themselves: the docstring beneath each field, its type and its default."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from kontinuum.foundation.settings import field_types, struct_of


@dataclass(frozen=True, slots=True)
class Setting:
    """One leaf of the tree of settings. ``documentation`` is empty where nobody wrote any."""

    path: str
    type: str
    default: str
    documentation: str

    @property
    def environment(self) -> str:
        """The environment variable that sets it."""
        return "KONTINUUM_" + self.path.upper().replace(".", "__")


def describe(kind: type[msgspec.Struct], path: str = "") -> Iterator[Setting]:
    """Every leaf beneath ``kind``, in the order in which the fields are written."""
    words = _docstrings(kind)
    types = field_types(kind)
    for field in msgspec.structs.fields(kind):
        here = f"{path}{field.name}"
        inner = struct_of(types[field.name])
        if inner is not None:
            yield from describe(inner, f"{here}.")
        else:
            yield Setting(here, _type_name(types[field.name]), _default(field), words.get(field.name, ""))


def _docstrings(kind: type[msgspec.Struct]) -> dict[str, str]:
    """The string that follows each annotated field in the class's source."""
    found: dict[str, str] = {}
    for base in reversed([c for c in kind.__mro__ if issubclass(c, msgspec.Struct) and c is not msgspec.Struct]):
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, after in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
                value = after.value
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    found[field.target.id] = inspect.cleandoc(value.value)
    return found


def _type_name(annotation: object) -> str:
    name = annotation.__name__ if isinstance(annotation, type) and not hasattr(annotation, "__args__") else None
    text = (name or str(annotation)).replace("typing.", "").replace("pathlib.", "")
    return text.replace("Path", "path").replace(" | None", "")


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default is not msgspec.NODEFAULT:
        return "(none)" if field.default is None or field.default == "" else str(field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
        return str(value) if value or value == 0 else "(none)"
    return "(required)"
