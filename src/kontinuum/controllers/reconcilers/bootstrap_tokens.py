"""Bootstrap tokens sign ``kube-public/cluster-info`` while they are good, and are removed when they are over."""

from __future__ import annotations

from kontinuum.api.kubernetes.bootstrap import INFO, INFO_NAMESPACE, NAMESPACE, TYPE
from kontinuum.api.kubernetes.resources import CONFIGMAPS, SECRETS
from kontinuum.api.machinery.objects import Object, namespace_of, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result
from kontinuum.controllers.context import Context
from kontinuum.controllers.frame import SelectionReconciler
from kontinuum.controllers.lib import bootstrap

INFO_KEY = f"{INFO_NAMESPACE}/{INFO}"


class TokenCleaner(SelectionReconciler):
    """Removes tokens that are over. Keys are their Secrets'."""

    name = "token-cleaner-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context, context.selection(SECRETS, fields=f"type={TYPE}"))

    async def reconcile(self, key: str) -> Result:
        """Remove one token, or wait until it is over."""
        secret = self._objects.get(key)
        if secret is None or namespace_of(secret) != NAMESPACE:
            return DONE
        left = bootstrap.seconds_left(secret, self._context.clock.time())
        if left is None or left > 0:
            return Result(left)
        try:
            await self._client.delete(
                SECRETS, secret["metadata"]["name"], namespace=namespace_of(secret), uid=uid_of(secret)
            )
        except ApiError as error:
            if not error.is_not_found and not error.is_conflict:
                raise
        return DONE


class BootstrapSigner(SelectionReconciler):
    """Keeps the signatures. There is one key, ``cluster-info``'s."""

    name = "bootstrap-signer-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context, context.selection(CONFIGMAPS, fields=f"metadata.name={INFO}"))
        self._tokens = context.selection(SECRETS, fields=f"type={TYPE}")
        self._tokens.add_handler(lambda change, obj, old: self._workers.queue.add(INFO_KEY))

    async def reconcile(self, key: str) -> Result:
        """Sign anew what has changed, and look again when a token ends."""
        info = self._objects.get(INFO_KEY)
        if info is None:
            return DONE
        now = self._context.clock.time()
        tokens = list(self._tokens.items())
        data = bootstrap.signed(info.get("data") or {}, tokens, now)
        if data != (info.get("data") or {}):
            await self._client.update(CONFIGMAPS, {**info, "data": data})
        ends = [left for one in tokens if (left := bootstrap.seconds_left(one, now))]
        return Result(min(ends, default=None))

    def _object_changed(self, change: str, obj: Object, old: Object | None) -> None:
        self._workers.queue.add(INFO_KEY)
