"""What is wrong with one field, in Kubernetes' own words (k8s.io/apimachinery, ``util/validation/field``)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class FieldError:
    """One cause of an Invalid status. ``path`` reads like ``spec.containers[0].image``."""

    path: str
    reason: str
    """The CauseType that clients test, e.g. ``FieldValueRequired``."""
    message: str
    """The text without the path, e.g. ``Required value: must be set``."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def required(path: str, detail: str = "") -> FieldError:
    return FieldError(path, "FieldValueRequired", _with_detail("Required value", detail))


def invalid(path: str, value: Any, detail: str = "") -> FieldError:
    return FieldError(path, "FieldValueInvalid", _with_detail(f"Invalid value: {quoted(value)}", detail))


def invalid_here(path: str, detail: str) -> FieldError:
    """As ``invalid``, where the value is too large, too secret or too composed to be shown."""
    return FieldError(path, "FieldValueInvalid", _with_detail("Invalid value", detail))


def type_invalid(path: str, value: Any, detail: str = "") -> FieldError:
    return FieldError(path, "FieldValueTypeInvalid", _with_detail(f"Invalid value: {quoted(value)}", detail))


def not_supported(path: str, value: Any, supported: Iterable[str]) -> FieldError:
    """``supported`` is listed in the order given; Kubernetes sorts most of its lists."""
    values = ", ".join(quoted(one) for one in supported)
    text = _with_detail(f"Unsupported value: {quoted(value)}", f"supported values: {values}" if values else "")
    return FieldError(path, "FieldValueNotSupported", text)


def forbidden(path: str, detail: str) -> FieldError:
    return FieldError(path, "FieldValueForbidden", _with_detail("Forbidden", detail))


def duplicate(path: str, value: Any) -> FieldError:
    return FieldError(path, "FieldValueDuplicate", f"Duplicate value: {quoted(value)}")


def not_found(path: str, value: Any, detail: str = "") -> FieldError:
    return FieldError(path, "FieldValueNotFound", _with_detail(f"Not found: {quoted(value)}", detail))


def too_long(path: str, maximum: int) -> FieldError:
    """``maximum`` is in bytes."""
    noun = "byte" if maximum == 1 else "bytes"
    return FieldError(path, "FieldValueTooLong", f"Too long: may not be more than {maximum} {noun}")


def too_many(path: str, actual: int, maximum: int) -> FieldError:
    noun = "item" if maximum == 1 else "items"
    return FieldError(path, "FieldValueTooMany", f"Too many: {actual}: must have at most {maximum} {noun}")


def quoted(value: Any) -> str:
    """A value as error messages show it: JSON, which is also how Go quotes the strings that occur here."""
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS).decode()


def _with_detail(text: str, detail: str) -> str:
    return f"{text}: {detail}" if detail else text
