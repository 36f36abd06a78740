"""One write and the quotas of its namespace: room before it, settled after it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass

from kontinuum.api.kubernetes.amounts import subtract, without_zeros
from kontinuum.api.machinery import status
from kontinuum.api.machinery.objects import Object, name_of, namespace_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.quota.accounts import Account
from kontinuum.apiserver.quota.desk import NoRoom
from kontinuum.store.port import AlreadyExists, Missing, StaleRevision, StoreFull, ValueTooLarge

REFUSED = (ApiError, AlreadyExists, Missing, StaleRevision, StoreFull, ValueTooLarge)
"""Errors after which it is known whether the object was stored. After others the reservation is left to run out."""


@dataclass(slots=True)
class Charge:
    """What a write tells of itself."""

    revision: int = 0
    """Of the store, at which the object was stored; 0 if nothing was."""


def charging(
    context: Context, served: Served, obj: Object, old: Object | None, *, dry_run: bool
) -> AbstractAsyncContextManager[Charge]:
    """What a write of ``obj`` is to stand within. Entering it raises ApiError 403, StoreFull, StoreUnavailable."""
    namespace = namespace_of(obj)
    if not context.quotas.are_open(served, namespace):
        return nullcontext(Charge())
    return _charged(context, served, obj, old, dry_run=dry_run)


@asynccontextmanager
async def _charged(
    context: Context, served: Served, obj: Object, old: Object | None, *, dry_run: bool
) -> AsyncIterator[Charge]:
    charge = Charge()
    account = context.quotas.account(namespace_of(obj))
    if account is None:
        yield charge
        return
    _check_demands(account, served, obj, old)
    if not _uses_more(context, account, served, obj, old):
        yield charge
        return
    key = served.layout.key(namespace_of(obj), name_of(obj))
    desk = context.quotas.desk(context, namespace_of(obj))
    if dry_run:
        if problem := await desk.excess(served, key, obj):
            raise status.forbidden(served.resource, name_of(obj), problem)
        yield charge
        return
    try:
        reservation = await desk.reserve(served, key, obj)
    except NoRoom as problem:
        raise status.forbidden(served.resource, name_of(obj), str(problem)) from problem
    try:
        yield charge
    except REFUSED:
        # It may have been stored nevertheless, and only the answer have failed.
        desk.settle(reservation, charge.revision)
        raise
    desk.settle(reservation, charge.revision)


def _check_demands(account: Account, served: Served, obj: Object, old: Object | None) -> None:
    """Raises ApiError 403 for a pod that does not say of every container what a quota has to know."""
    if old is not None:
        return
    for name in sorted(account.quotas):
        if problem := account.quotas[name].missing(served.resource, obj):
            raise status.forbidden(served.resource, name_of(obj), problem)


def _uses_more(context: Context, account: Account, served: Served, obj: Object, old: Object | None) -> bool:
    now = context.clock.time()
    for quota in account.quotas.values():
        charge = quota.charge(served.resource, obj, now)
        before = quota.charge(served.resource, old, now) if old is not None else {}
        if without_zeros(subtract(charge, before)):
            return True
    return False
