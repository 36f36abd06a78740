"""What a function is to the checker and to the evaluation: its signatures, what each does and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kontinuum.api.machinery.cel.types import Type

Charge = Callable[..., int]
"""From the arguments to what a call costs. Charged before the call, so that nothing expensive is begun."""


@dataclass(frozen=True, slots=True, eq=False)
class Overload:
    """One signature. ``parameters`` begin with the target of a member function."""

    function: str
    name: str
    parameters: tuple[Type, ...]
    result: Type
    implementation: Callable[..., Any]
    is_member: bool
    charge: Charge | int = 1


def function(
    name: str,
    overload: str,
    parameters: tuple[Type, ...],
    result: Type,
    do: Callable[..., Any],
    charge: Charge | int = 1,
) -> Overload:
    """``name(...)``; operators are named ``_+_``."""
    return Overload(name, overload, parameters, result, do, is_member=False, charge=charge)


def member(
    name: str,
    overload: str,
    parameters: tuple[Type, ...],
    result: Type,
    do: Callable[..., Any],
    charge: Charge | int = 1,
) -> Overload:
    """``target.name(...)``."""
    return Overload(name, overload, parameters, result, do, is_member=True, charge=charge)
