"""The few checks that every kind's validation is made of; ``path`` is where the value stands."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

NEGATIVE = "must be greater than or equal to 0"
IMMUTABLE = "field is immutable"
EMPTY: tuple[Any, ...] = (None, "", [], {})
PERCENT = re.compile(r"[0-9]+%")
PERCENT_TEXT = (
    "a valid percent string must be a numeric string followed by an ending '%' "
    "(e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
)


def non_negative(value: int | None, path: str) -> list[FieldError]:
    return [fields.invalid(path, value, NEGATIVE)] if value is not None and value < 0 else []


def positive(value: int | None, path: str) -> list[FieldError]:
    return [fields.invalid(path, value, "must be greater than 0")] if value is not None and value <= 0 else []


def one_of(value: str | None, supported: Collection[str], path: str, *, required: bool = True) -> list[FieldError]:
    """``supported`` is shown sorted, as Kubernetes shows its sets."""
    if not value:
        return [fields.required(path)] if required else []
    return [] if value in supported else [fields.not_supported(path, value, sorted(supported))]


def problems(value: Any, found: Collection[str], path: str) -> list[FieldError]:
    """One error for each text that a check of ``names`` returned."""
    return [fields.invalid(path, value, one) for one in found]


def unchanged(obj: Object, old: Object, field: str, path: str) -> list[FieldError]:
    """``field`` may not change; ``path`` is that of the field itself."""
    value = obj.get(field)
    # Go shows a pointer to nothing as a text.
    return [] if same(value, old.get(field)) else [fields.invalid(path, "null" if value is None else value, IMMUTABLE)]


def same(one: Any, other: Any) -> bool:
    """Equal as Go's structs are: what is absent equals what is empty (``apiequality.Semantic.DeepEqual``)."""
    if one is other:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return all(same(one.get(key), other.get(key)) for key in one.keys() | other.keys())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) or (one in EMPTY and other in EMPTY)


def count_or_share(value: Any, path: str) -> list[FieldError]:
    """A whole number that is not negative, or a percentage."""
    if isinstance(value, int):
        return non_negative(value, path)
    return [] if PERCENT.fullmatch(str(value)) else [fields.invalid(path, value, PERCENT_TEXT)]


def not_above_all(value: Any, path: str) -> list[FieldError]:
    """A percentage may not exceed 100%."""
    if isinstance(value, str) and PERCENT.fullmatch(value) and int(value[:-1]) > 100:
        return [fields.invalid(path, value, "must not be greater than 100%")]
    return []


def is_zero(value: Any) -> bool:
    return value in (None, 0) or (isinstance(value, str) and bool(re.fullmatch(r"0+%", value)))
