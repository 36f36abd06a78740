"""What is wrong with paths that must stay below a directory."""

from __future__ import annotations

from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError


def no_backsteps(path: str, where: str) -> list[FieldError]:
    return [fields.invalid(where, path, "must not contain '..'")] if ".." in path.split("/") else []


def below(path: str, where: str) -> list[FieldError]:
    """Relative, and not upwards."""
    errors = [fields.invalid(where, path, "must be a relative path")] if path.startswith("/") else []
    return errors + no_backsteps(path, where)


def of_file(path: str, where: str) -> list[FieldError]:
    """A required file below a volume; names that begin with ``..`` are the node's own."""
    if not path:
        return [fields.required(where)]
    errors = below(path, where)
    if path.startswith("..") and not path.startswith("../"):
        errors.append(fields.invalid(where, path, "must not start with '..'"))
    return errors
