"""Kubernetes' quantity library: ``quantity("1.5Gi").isGreaterThan(...)``."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.errors import EvaluationError
from kontinuum.api.machinery.cel.library import charges
from kontinuum.api.machinery.cel.overloads import function, member
from kontinuum.api.machinery.cel.values import LARGEST, SMALLEST, Opaque

QUANTITY = t.opaque("kubernetes.Quantity")
LONGEST = 100


class Quantity(Opaque):
    """An exact amount."""

    __slots__ = ("amount",)
    type_name = "kubernetes.Quantity"

    def __init__(self, amount: Decimal) -> None:
        self.amount = amount

    def equals(self, other: Any) -> bool:
        return isinstance(other, Quantity) and self.amount == other.amount

    def __str__(self) -> str:
        return quantity.canonical(f"{self.amount:f}")


def _read(text: str) -> Quantity:
    if len(text) > LONGEST:
        raise EvaluationError(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    try:
        return Quantity(quantity.parse(text))
    except quantity.InvalidQuantity as error:
        raise EvaluationError(str(error)) from error


def _is_quantity(text: str) -> bool:
    try:
        _read(text)
    except EvaluationError:
        return False
    return True


def _is_integer(one: Quantity) -> bool:
    return one.amount == one.amount.to_integral_value() and SMALLEST <= one.amount <= LARGEST


def _as_integer(one: Quantity) -> int:
    if not _is_integer(one):
        raise EvaluationError("cannot convert value to integer")
    return int(one.amount)


def _compare(one: Quantity, other: Quantity) -> int:
    return int(one.amount > other.amount) - int(one.amount < other.amount)


TWO = (QUANTITY, QUANTITY)
OVERLOADS = (
    function("quantity", "string_to_quantity", (t.STRING,), QUANTITY, _read, charges.of_first),
    function("isQuantity", "is_quantity_string", (t.STRING,), t.BOOL, _is_quantity, charges.of_first),
    member("sign", "quantity_sign", (QUANTITY,), t.INT, lambda a: int(a.amount > 0) - int(a.amount < 0)),
    member("isInteger", "quantity_is_integer", (QUANTITY,), t.BOOL, _is_integer),
    member("asInteger", "quantity_as_integer", (QUANTITY,), t.INT, _as_integer),
    member("asApproximateFloat", "quantity_get_float", (QUANTITY,), t.DOUBLE, lambda a: float(a.amount)),
    member("isGreaterThan", "quantity_is_greater_than", TWO, t.BOOL, lambda a, b: a.amount > b.amount),
    member("isLessThan", "quantity_is_less_than", TWO, t.BOOL, lambda a, b: a.amount < b.amount),
    member("compareTo", "quantity_compare_to", TWO, t.INT, _compare),
    member("add", "quantity_add", TWO, QUANTITY, lambda a, b: Quantity(a.amount + b.amount)),
    member("add", "quantity_add_int", (QUANTITY, t.INT), QUANTITY, lambda a, b: Quantity(a.amount + b)),
    member("sub", "quantity_sub", TWO, QUANTITY, lambda a, b: Quantity(a.amount - b.amount)),
    member("sub", "quantity_sub_int", (QUANTITY, t.INT), QUANTITY, lambda a, b: Quantity(a.amount - b)),
)
