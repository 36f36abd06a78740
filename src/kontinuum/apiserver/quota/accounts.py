"""What is used, counted from the caches: for each namespace that has quotas, what each of its objects uses of each.

Like the other indexes in the server it follows the caches by key, and looks at what has changed only when it is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson

from kontinuum.api.kubernetes.amounts import Amounts, add, subtract
from kontinuum.api.kubernetes.quota.quotas import Quota
from kontinuum.api.kubernetes.quota.usage import READ
from kontinuum.api.kubernetes.resources import RESOURCEQUOTAS
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.catalog import Served
from kontinuum.apiserver.selection import Selection
from kontinuum.apiserver.watchcache import WatchCache


@dataclass(frozen=True, slots=True)
class Charged:
    """What one object uses, by the name of the quota."""

    uid: str
    charges: Mapping[str, Amounts]


NOBODY = Charged("", {})


class Account:
    """One namespace's quotas, and what those of its objects use that have to be read to know it."""

    def __init__(self, quotas: Mapping[str, Quota]) -> None:
        self.quotas = quotas
        self.used: dict[str, Amounts] = {name: {} for name in quotas}
        self._charged: dict[str, Charged] = {}
        self._ending: dict[str, tuple[Resource, Object]] = {}

    def charged(self, key: str) -> Charged:
        """What the object under the store's ``key`` uses."""
        return self._charged.get(key, NOBODY)

    def take(self, resource: Resource, key: str, obj: Object | None, now: float) -> None:
        """``obj`` is what is under ``key`` now."""
        before = self._charged.pop(key, NOBODY)
        self._ending.pop(key, None)
        for name, amounts in before.charges.items():
            self.used[name] = subtract(self.used[name], amounts)
        if obj is None:
            return
        charges = {name: quota.charge(resource, obj, now) for name, quota in self.quotas.items()}
        self._charged[key] = Charged(obj["metadata"]["uid"], {name: one for name, one in charges.items() if one})
        for name, amounts in charges.items():
            self.used[name] = add(self.used[name], amounts)
        if obj["metadata"].get("deletionTimestamp"):
            self._ending[key] = resource, obj

    def look_at_ending(self, now: float) -> None:
        """What is being deleted may cease to count by time alone."""
        for key, (resource, obj) in list(self._ending.items()):
            self.take(resource, key, obj, now)


class Accounts:
    """See the module."""

    def __init__(self, served: Mapping[Resource, Served]) -> None:
        self._quotas = served[RESOURCEQUOTAS].cache
        self._changed_quotas = self._quotas.follow()
        self._read = [(one, served[one].cache, served[one].cache.follow()) for one in READ]
        self._accounts: dict[str, Account] = {}

    def of(self, namespace: str, now: float) -> Account | None:
        """The namespace's account as the caches have it now; None if it has no quotas."""
        for changed in {self._quotas.layout.identity(key)[0] for key in self._changed_quotas}:
            self._renew(changed, now)
        self._changed_quotas.clear()
        for resource, cache, keys in self._read:
            if self._accounts:
                self._take(resource, cache, keys, now)
            keys.clear()
        account = self._accounts.get(namespace)
        if account is not None:
            account.look_at_ending(now)
        return account

    def _take(self, resource: Resource, cache: WatchCache, keys: Iterable[str], now: float) -> None:
        for key in keys:
            account = self._accounts.get(cache.layout.identity(key)[0])
            if account is not None:
                entry = cache.get(key)
                account.take(resource, key, orjson.loads(entry.value) if entry is not None else None, now)

    def _renew(self, namespace: str, now: float) -> None:
        """Count anew if the namespace's quotas say something else than before; their status is of no interest."""
        entries = self._quotas.select(Selection(namespace))
        quotas = {entry.name: Quota.of(orjson.loads(entry.value)) for entry in entries}
        old = self._accounts.get(namespace)
        if not quotas:
            self._accounts.pop(namespace, None)
        elif old is None or old.quotas != quotas:
            account = self._accounts[namespace] = Account(quotas)
            for resource, cache, _ in self._read:
                for entry in cache.select(Selection(namespace)):
                    account.take(resource, entry.key, orjson.loads(entry.value), now)
