"""A store that encrypts values on their way into another one, and decrypts them on their way out.

Keys, revisions and history are the other store's. Values of resources that are not configured pass as they are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from kontinuum.apiserver.encryption.ciphers import ENCRYPTED, Ciphers, Undecryptable
from kontinuum.apiserver.encryption.configuration import Configuration
from kontinuum.apiserver.registry import ROOT
from kontinuum.store.port import Change, Compacted, Page, Record, Store

PAGE = 500


class EncryptedStore:
    """See ``store.port.Store``. Reading raises Undecryptable where a key is missing."""

    def __init__(self, store: Store, configuration: Configuration) -> None:
        self._store = store
        self._configuration = configuration
        self._known: dict[tuple[str, str], Ciphers | None] = {}

    async def adopt(self, configuration: Configuration) -> None:
        """Use other keys from now on. Raises Undecryptable, and keeps those it has, if they do not read everything."""
        await EncryptedStore(self._store, configuration).check()
        self._configuration = configuration
        self._known.clear()

    async def check(self) -> None:
        """Read everything that is stored of what is configured. Raises Undecryptable."""
        after = ""
        while True:
            page = await self._store.list(ROOT, limit=PAGE, after=after)
            for record in page.records:
                self._plain(record.key, record.value)
            if not page.remaining:
                return
            after = page.records[-1].key

    async def is_stale(self, key: str) -> bool:
        """What is stored under ``key`` would be written otherwise today, with another key or none."""
        ciphers = self._ciphers(key)
        if ciphers is None:
            return False
        record = await self._store.get(key)
        return record is not None and ciphers.is_stale(key, record.value)

    async def create(self, key: str, value: bytes) -> Record:
        return self._given(await self._store.create(key, self._sealed(key, value)), value)

    async def update(self, key: str, value: bytes, *, expected: int) -> Record:
        return self._given(await self._store.update(key, self._sealed(key, value), expected=expected), value)

    async def delete(self, key: str, *, expected: int) -> Record:
        return self._read(await self._store.delete(key, expected=expected))

    async def get(self, key: str) -> Record | None:
        record = await self._store.get(key)
        return self._read(record) if record is not None else None

    async def list(self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0) -> Page:
        page = await self._store.list(prefix, limit=limit, after=after, revision=revision)
        try:
            return replace(page, records=tuple(map(self._read, page.records)))
        except Undecryptable as error:
            now = await self._store.revision()
            if revision in (0, now):
                raise
            raise _forgotten(error, now) from error

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Change]:
        async for change in self._store.watch(prefix, after=after):
            try:
                yield self._shown(change)
            except Undecryptable as error:
                raise _forgotten(error, await self._store.revision()) from error

    async def revision(self) -> int:
        return await self._store.revision()

    async def compact(self, revision: int) -> None:
        await self._store.compact(revision)

    async def close(self) -> None:
        await self._store.close()

    def _ciphers(self, key: str) -> Ciphers | None:
        # "/registry/core/secrets/default/name": group and plural are the second and third part.
        _, _, group, plural, *_ = key.split("/", 4)
        place = (group, plural)
        if place not in self._known:
            self._known[place] = self._configuration.ciphers_of("" if group == "core" else group, plural)
        return self._known[place]

    def _sealed(self, key: str, value: bytes) -> bytes:
        ciphers = self._ciphers(key)
        return value if ciphers is None else ciphers.encrypt(key, value)

    def _plain(self, key: str, stored: bytes) -> bytes:
        ciphers = self._ciphers(key)
        if ciphers is None:
            # What is no longer configured to be encrypted must still be readable, or it is lost.
            return stored if not stored.startswith(ENCRYPTED) else self._configuration.decrypt(key, stored)
        return ciphers.decrypt(key, stored)

    def _read(self, record: Record) -> Record:
        value = self._plain(record.key, record.value)
        return record if value is record.value else replace(record, value=value)

    def _given(self, record: Record, value: bytes) -> Record:
        return record if record.value is value else replace(record, value=value)

    def _shown(self, change: Change) -> Change:
        value = self._plain(change.key, change.value)
        return change if value is change.value else replace(change, value=value)


def _forgotten(error: Undecryptable, now: int) -> Compacted:
    """A key that is not needed for anything that is stored may have been removed; history under it is lost with it."""
    return Compacted(f"history cannot be read any more: {error}", oldest=now)
