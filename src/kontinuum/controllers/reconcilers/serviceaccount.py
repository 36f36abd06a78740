"""Service accounts: every namespace has one named ``default``, for pods that ask for none."""

from __future__ import annotations

from kontinuum.api.kubernetes.resources import NAMESPACES, SERVICEACCOUNTS
from kontinuum.api.machinery.objects import Object, name_of, namespace_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result, Workers
from kontinuum.controllers.context import Context

DEFAULT = "default"


def plan(namespace: Object | None, account: Object | None) -> Object | None:
    """The service account to create, or None."""
    if namespace is None or account is not None or "deletionTimestamp" in namespace["metadata"]:
        return None
    return {
        "apiVersion": SERVICEACCOUNTS.api_version,
        "kind": SERVICEACCOUNTS.kind,
        "metadata": {"name": DEFAULT, "namespace": name_of(namespace)},
    }


class ServiceAccountReconciler:
    """The hand that carries ``plan`` out. Keys are names of namespaces."""

    name = "serviceaccount"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._namespaces = context.informer(NAMESPACES)
        self._accounts = context.informer(SERVICEACCOUNTS)
        self._workers = Workers(self.name, self.reconcile, count=context.settings.workers)
        self._namespaces.add_handler(lambda change, obj, old: self._workers.queue.add(name_of(obj)))
        self._accounts.add_handler(self._account_changed)

    async def run(self) -> None:
        """See ``Reconciler``."""
        await self._workers.run()

    def look_again(self) -> None:
        """See ``Reconciler``."""
        for key in self._namespaces.all_keys():
            self._workers.queue.add(key)

    async def reconcile(self, key: str) -> Result:
        """Give one namespace its default account."""
        wanted = plan(self._namespaces.get(key), self._accounts.get(f"{key}/{DEFAULT}"))
        if wanted is not None:
            try:
                await self._context.client.create(SERVICEACCOUNTS, wanted)
            except ApiError as error:
                if not error.is_already_exists and not error.is_namespace_terminating:
                    raise
        return DONE

    def _account_changed(self, change: str, account: Object, old: Object | None) -> None:
        if change == "deleted" and name_of(account) == DEFAULT:
            self._workers.queue.add(namespace_of(account))
