"""How a server's store is wrapped, and how its keys are changed while it runs."""

from __future__ import annotations

from pathlib import Path

import structlog

from kontinuum.api.kubernetes.resources import SECRETS
from kontinuum.apiserver.encryption.ciphers import ENCRYPTED, Undecryptable
from kontinuum.apiserver.encryption.configuration import BadConfiguration, read_configuration
from kontinuum.apiserver.encryption.store import EncryptedStore
from kontinuum.apiserver.registry import Layout
from kontinuum.foundation.clock import Clock
from kontinuum.store.port import Store

log = structlog.get_logger(__name__)

LOOK_SECONDS = 10.0


def wrapped(store: Store, file: Path | None) -> Store:
    """``store``, or one around it that encrypts as ``file`` says. Raises BadConfiguration."""
    return store if file is None else EncryptedStore(store, read_configuration(file))


async def check(store: Store) -> None:
    """Raises Undecryptable if something is stored that cannot be read with the keys that there are."""
    if isinstance(store, EncryptedStore):
        await store.check()
        return
    page = await store.list(Layout(SECRETS).prefix, limit=1)
    if any(record.value.startswith(ENCRYPTED) for record in page.records):
        raise Undecryptable("Secrets are stored encrypted: set server.encryption to the file with their keys")


async def is_stale(store: Store, key: str) -> bool:
    """What is stored under ``key`` is to be written again even if nothing else changes."""
    return isinstance(store, EncryptedStore) and await store.is_stale(key)


async def follow_configuration(store: Store, file: Path, clock: Clock) -> None:
    """Use the file's keys as they change, if they read everything. Ends only by cancellation."""
    assert isinstance(store, EncryptedStore)
    known = _changed_at(file)
    while True:
        await clock.sleep(LOOK_SECONDS)
        found = _changed_at(file)
        if found == known:
            continue
        known = found
        try:
            await store.adopt(read_configuration(file))
        except (BadConfiguration, Undecryptable) as error:
            log.error("the changed encryption configuration is not used", reason=str(error))
            continue
        log.info("using the changed encryption configuration", file=str(file))


def _changed_at(file: Path) -> int:
    return file.stat().st_mtime_ns if file.exists() else 0
