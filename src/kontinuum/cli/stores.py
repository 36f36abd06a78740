"""Which store the settings mean, and opening it.

Imports are inside the functions on purpose: who keeps objects in SQLite should not pay for gRPC.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from kontinuum.cli.settings import Settings
from kontinuum.cli.store_settings import StoreSettings
from kontinuum.foundation.errors import Refused
from kontinuum.store.port import Store

if TYPE_CHECKING:
    from kontinuum.store.etcd import Access

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


def at(store: StoreSettings, address: str) -> StoreSettings:
    """The settings for the store at another address."""
    return replace(store, address=address)


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
