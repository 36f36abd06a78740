"""All that is known of quotas at one server: accounts, numbers of objects, and the desks that are open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import msgspec

from kontinuum.api.kubernetes.amounts import Amounts
from kontinuum.api.kubernetes.quota.usage import READ, UNCOUNTED, counts_of
from kontinuum.api.kubernetes.resources import RESOURCEQUOTAS
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.catalog import Served
from kontinuum.apiserver.quota.accounts import Account, Accounts
from kontinuum.apiserver.quota.desk import Desk, Server
from kontinuum.foundation.clock import Clock


class _Metadata(msgspec.Struct):
    uid: str = ""


class _UidOnly(msgspec.Struct):
    metadata: _Metadata


_decode_uid = msgspec.json.Decoder(_UidOnly).decode


class Books:
    """``served`` is live: custom resources come and go."""

    def __init__(self, served: Mapping[Resource, Served], clock: Clock) -> None:
        self._served = served
        self._clock = clock
        self._quotas = served[RESOURCEQUOTAS].cache
        self._accounts = Accounts(served)
        self._desks: dict[str, Desk] = {}

    def are_open(self, served: Served, namespace: str) -> bool:
        """Whether a write of such an object may have to be counted; quick, because most need not."""
        if not len(self._quotas):
            return False  # Most clusters have none at all.
        is_countable = served.resource.namespaced and served.resource not in UNCOUNTED
        return is_countable and bool(namespace) and self._quotas.count(namespace) > 0

    def account(self, namespace: str) -> Account | None:
        """The namespace's account as the caches have it now; None if it has no quotas."""
        return self._accounts.of(namespace, self._clock.time())

    def counted(self, namespace: str, served: Iterable[Served], hard: Amounts) -> Amounts:
        """How many objects there are, under those names of ``hard`` that only count them."""
        found: Amounts = {}
        for one in served:
            if one.resource not in READ:
                count = str(one.cache.count(namespace))
                found.update({name: count for name in counts_of(one.resource) if name in hard})
        return found

    def is_there(self, key: str, uid: str) -> bool:
        """The caches hold this very object under the store's ``key``; never so for those that accounts know."""
        for one in self._served.values():
            if one.resource not in READ and key.startswith(one.layout.prefix):
                entry = one.cache.get(key)
                return entry is not None and _decode_uid(entry.value).metadata.uid == uid
        return False

    def desk(self, server: Server, namespace: str) -> Desk:
        """Where writes of ``namespace`` ask for room."""
        desk = self._desks.get(namespace)
        if desk is None:
            desk = self._desks[namespace] = Desk(server, self, namespace)
        return desk

    async def close(self) -> None:
        await asyncio.gather(*(desk.close() for desk in self._desks.values()))
