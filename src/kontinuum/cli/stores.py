"""Which store the settings mean, and opening it.

Imports are inside the functions on purpose: who keeps objects in SQLite should not pay for gRPC.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from kontinuum.cli.settings import Settings
from kontinuum.cli.store_settings import StoreSettings
from kontinuum.foundation.errors import Refused
from kontinuum.foundation.files import make_directory
from kontinuum.store.port import Store

if TYPE_CHECKING:
    from kontinuum.store.etcd import Access
    from kontinuum.store.transfer import Source, Target

SQLITE = "sqlite://"


class StoreAddressRefused(Refused):
    """The address names no store that we know."""


async def open_store(settings: Settings) -> Store:
    """The store that ``settings`` name. Raises Broken, StoreFull, StoreUnavailable, StoreAddressRefused."""
    where = locate(settings.store, default=settings.installation.store)
    if isinstance(where, Path):
        from kontinuum.store.sqlite.store import SqliteStore

        return await SqliteStore.open(where)
    from kontinuum.store.etcd import EtcdStore

    return await EtcdStore.open(where)


@asynccontextmanager
async def source_of(settings: Settings, *, address: str = "", alone: bool = False) -> AsyncIterator[Source]:
    """Everything in the store that ``settings`` name, or the one at ``address``. Nothing is written to it.

    ``alone``: no server may have SQLite's file open. Raises Broken, StoreUnavailable, StoreAddressRefused.
    """
    where = _where(settings, address)
    if isinstance(where, Path):
        from kontinuum.store.sqlite import transfer as sqlite

        with sqlite.reading(where, alone=alone) as source:
            yield source
    else:
        from kontinuum.store.etcd import transfer as etcd

        async with etcd.reading(where) as other:
            yield other


@asynccontextmanager
async def target_of(settings: Settings, *, address: str = "", force: bool) -> AsyncIterator[Target]:
    """The store that ``settings`` name, or the one at ``address``, as what is to be filled.

    Raises Occupied if it holds something and ``force`` is False; Broken, StoreUnavailable, StoreAddressRefused.
    """
    where = _where(settings, address)
    if isinstance(where, Path):
        from kontinuum.store.sqlite import transfer as sqlite

        if not settings.installation.data.exists() and where == settings.installation.store:
            make_directory(settings.installation.data, mode=0o755)  # a new machine
        with sqlite.replacing(where, replace=force) as target:
            yield target
    else:
        from kontinuum.store.etcd import transfer as etcd

        async with etcd.replacing(where, replace=force) as other:
            yield other


def _where(settings: Settings, address: str) -> Path | Access:
    store = replace(settings.store, address=address) if address else settings.store
    return locate(store, default=settings.installation.store)


def locate(store: StoreSettings, *, default: Path) -> Path | Access:
    """SQLite's file, or the way into etcd. Raises StoreAddressRefused."""
    address = store.address
    if not address:
        return default
    if address.startswith(SQLITE):
        path = Path(address.removeprefix(SQLITE))
        if not path.is_absolute():
            raise StoreAddressRefused(f"{address}: SQLite's file needs its whole path: sqlite:///var/lib/x/store.db")
        return path
    if not address.startswith("etcd://"):
        raise StoreAddressRefused(f"{address}: not a store; use sqlite:///PATH or etcd://HOST:PORT,HOST:PORT")
    from kontinuum.store.etcd.access import Access, endpoints_of

    return Access(
        endpoints=endpoints_of(address),
        prefix=store.prefix,
        authority=store.certificate_authority,
        certificate=store.certificate,
        key=store.key,
        user=store.user,
        password=_password(store),
        patience_seconds=store.patience_seconds,
    )


def _password(store: StoreSettings) -> str:
    if store.password_file is None:
        return ""
    try:
        lines = store.password_file.read_text().splitlines()
    except OSError as error:
        raise StoreAddressRefused(f"{store.password_file}: {error.strerror}") from error
    return lines[0].strip() if lines else ""
