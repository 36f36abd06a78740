"""How many seats each priority level has. Pure (KEP-1040, "Dispatching" and "Borrowing").

A server has ``total`` seats; each limited level is given its share of them (nominal). A part of that it may lend to
others while it does not need it; the rest is kept free for it at any time (guaranteed). With what it borrows it never
gets beyond ``most``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from kontinuum.api.machinery.objects import Object

DEFAULT_SHARES = 30


class Limits(NamedTuple):
    """Seats."""

    nominal: int
    guaranteed: int
    most: int


UNLIMITED = Limits(0, 0, 0)
"""Of an exempt level: nobody counts."""


def limits_of(specs: Mapping[str, Object], total: int) -> dict[str, Limits]:
    """The limits of each level by name, from the levels' specs."""
    shares = {name: _part(spec).get("nominalConcurrencyShares", DEFAULT_SHARES) for name, spec in specs.items()}
    # Exempt levels may have shares as well: seats that they keep away from others, or lend.
    together = sum(shares.values()) or 1
    return {name: _limits(spec, math.ceil(total * shares[name] / together), total) for name, spec in specs.items()}


def is_exempt(spec: Object) -> bool:
    return bool(spec.get("type") == "Exempt")


def _part(spec: Object) -> Object:
    part: Object = spec.get("exempt" if is_exempt(spec) else "limited") or {}
    # Exempt levels have no shares unless they say so.
    return {"nominalConcurrencyShares": 0, **part} if is_exempt(spec) else part


def _limits(spec: Object, nominal: int, total: int) -> Limits:
    if is_exempt(spec):
        return UNLIMITED
    part = _part(spec)
    lendable = _percent(nominal, part.get("lendablePercent") or 0)
    borrowing = part.get("borrowingLimitPercent")
    most = total if borrowing is None else nominal + _percent(nominal, borrowing)
    return Limits(nominal, nominal - lendable, max(1, min(most, max(total, nominal))))


def _percent(seats: int, percent: int) -> int:
    """Halves are rounded up, as Go does."""
    return math.floor(seats * percent / 100 + 0.5)
