"""What is just being written in one namespace: a record in the store, changed by compare-and-swap alone.

It is kept when it is empty, because one that went and came back would look unchanged to who read it before.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from kontinuum.api.kubernetes.amounts import Amounts
from kontinuum.apiserver.registry import ROOT
from kontinuum.store.port import AlreadyExists, Missing, StaleRevision, Store

PREFIX = f"{ROOT}quota/ledgers/"


class Reservation(msgspec.Struct, frozen=True):
    """One write under way."""

    key: str
    """The store's key of the object."""
    uid: str
    until: float
    """Seconds since the epoch: after that the write has happened or never will. Servers' clocks may differ by less than
    the margin that is in it."""
    charges: dict[str, Amounts]
    """What the object uses once it is written, by the name of the quota."""


@dataclass(slots=True)
class Ledger:
    """As it was read at ``revision`` (0: there is none yet)."""

    namespace: str
    revision: int
    reservations: dict[str, Reservation] = field(default_factory=dict)


class LedgerChanged(Exception):
    """Another server was faster: read it again."""


async def read(store: Store, namespace: str) -> Ledger:
    """Raises StoreUnavailable."""
    record = await store.get(PREFIX + namespace)
    if record is None:
        return Ledger(namespace, 0)
    return Ledger(namespace, record.revision, _decode(record.value))


async def write(store: Store, ledger: Ledger) -> None:
    """Store it if it is still what was read. Raises LedgerChanged, StoreFull, StoreUnavailable."""
    key, value = PREFIX + ledger.namespace, msgspec.json.encode(ledger.reservations)
    try:
        if ledger.revision:
            await store.update(key, value, expected=ledger.revision)
        else:
            await store.create(key, value)
    except (AlreadyExists, Missing, StaleRevision) as error:
        raise LedgerChanged from error


_decode = msgspec.json.Decoder(dict[str, Reservation]).decode
