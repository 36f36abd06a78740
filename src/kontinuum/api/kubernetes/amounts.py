"""Amounts of several resources at once: ``{"cpu": "500m", "pods": "3"}``. Pure; nothing given is changed.

Quantities stay text, in the form of the first one that is not zero, because that is how users see sums of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kontinuum.api.machinery import quantity

Amounts = dict[str, str]
"""Quantities by resource name."""


def add(left: Mapping[str, str], right: Mapping[str, str]) -> Amounts:
    total = dict(left)
    for name, amount in right.items():
        total[name] = quantity.add(total[name], amount) if name in total else amount
    return total


def subtract(left: Mapping[str, str], right: Mapping[str, str]) -> Amounts:
    """``left`` less what ``right`` has of it; never below zero."""
    rest = dict(left)
    for name, amount in right.items():
        if name in rest:
            rest[name] = quantity.subtract(rest[name], amount) if is_more(rest[name], amount) else "0"
    return rest


def raise_to(left: Mapping[str, str], least: Mapping[str, str]) -> Amounts:
    """The greater of the two, of each resource."""
    total = dict(left)
    for name, amount in least.items():
        if name not in total or is_more(amount, total[name]):
            total[name] = amount
    return total


def mask(amounts: Mapping[str, str], names: Iterable[str]) -> Amounts:
    """Only the resources that are named."""
    return {name: amounts[name] for name in names if name in amounts}


def is_more(left: str, right: str) -> bool:
    """The quantity ``left`` is greater than ``right``."""
    return quantity.parse(left) > quantity.parse(right)


def without_zeros(amounts: Mapping[str, str]) -> Amounts:
    return {name: amount for name, amount in amounts.items() if quantity.parse(amount)}


def in_words(amounts: Mapping[str, str]) -> str:
    """``cpu=1,pods=2``, by name, each in the form in which Kubernetes tells it."""
    return ",".join(f"{name}={quantity.canonical(amounts[name])}" for name in sorted(amounts))
