"""Is there room? Pure: what is wanted, what is used, and what is reserved, in; who may, may not, or must wait, out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kontinuum.api.kubernetes.amounts import Amounts, add, subtract
from kontinuum.api.kubernetes.quota.quotas import Quota
from kontinuum.apiserver.quota.ledger import Reservation

Charges = Mapping[str, Amounts]
"""By the name of the quota."""
ChargedNow = Callable[[Reservation], Charges]
"""What the caches show already of a reservation's object."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a write needs: what its object uses afterwards, and how much more that is than now."""

    id: str
    charges: Charges
    more: Charges


@dataclass(slots=True)
class Verdict:
    """Ids of those who may write; what to tell those who may not. All others wait for reservations to be settled."""

    granted: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    """With what would be told if they had to be refused now."""


def judge(wanted: Sequence[Wanted], quotas: Mapping[str, Quota], used: Charges, reserved: Charges) -> Verdict:
    """First come, first served. ``reserved`` is on top of ``used``."""
    verdict = Verdict()
    reserved = dict(reserved)
    for one in wanted:
        if problem := first_excess(one, quotas, used):
            verdict.refused[one.id] = problem
        elif problem := first_excess(one, quotas, together(used, reserved)):
            verdict.waiting[one.id] = problem
        else:
            verdict.granted.append(one.id)
            reserved = together(reserved, one.more)
    return verdict


def first_excess(wanted: Wanted, quotas: Mapping[str, Quota], used: Charges) -> str:
    """What the first quota (by name) objects; "" if all have room."""
    for name in sorted(wanted.more.keys() & quotas.keys()):
        if problem := quotas[name].excess(used.get(name) or {}, wanted.more[name]):
            return problem
    return ""


def reserved_beyond(reservations: Iterable[Reservation], charged_now: ChargedNow) -> Charges:
    """What ``reservations`` hold of objects that the caches do not show, or not yet at that size."""
    total: dict[str, Amounts] = {}
    for one in reservations:
        shown = charged_now(one)
        for name, amounts in one.charges.items():
            total[name] = add(total.get(name) or {}, subtract(amounts, shown.get(name) or {}))
    return total


def together(left: Charges, right: Charges) -> Charges:
    return {name: add(left.get(name) or {}, right.get(name) or {}) for name in left.keys() | right.keys()}
