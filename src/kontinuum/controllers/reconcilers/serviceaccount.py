"""Service accounts: every namespace has one named ``default``, for pods that ask for none."""

from __future__ import annotations

from kontinuum.api.kubernetes.resources import NAMESPACES, SERVICEACCOUNTS
from kontinuum.api.machinery.objects import Object, name_of, namespace_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result
from kontinuum.controllers.context import Context
from kontinuum.controllers.frame import KeyReconciler

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


class ServiceAccountReconciler(KeyReconciler):
    """The hand that carries ``plan`` out. Keys are names of namespaces."""

    name = "serviceaccount"

    def __init__(self, context: Context) -> None:
        super().__init__(context, NAMESPACES)
        self._accounts = context.informer(SERVICEACCOUNTS)
        self._accounts.add_handler(self._account_changed)

    async def reconcile(self, key: str) -> Result:
        """Give one namespace its default account."""
        wanted = plan(self._objects.get(key), self._accounts.get(f"{key}/{DEFAULT}"))
        if wanted is not None:
            try:
                await self._client.create(SERVICEACCOUNTS, wanted)
            except ApiError as error:
                if not error.is_already_exists and not error.is_namespace_terminating:
                    raise
        return DONE

    def _account_changed(self, change: str, account: Object, old: Object | None) -> None:
        if change == "deleted" and name_of(account) == DEFAULT:
            self._workers.queue.add(namespace_of(account))
