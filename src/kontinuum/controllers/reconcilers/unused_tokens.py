"""Service accounts' tokens that were made unasked and that nobody uses are marked, and removed a year later."""

from __future__ import annotations

from kontinuum.api.kubernetes.account_tokens import (
    ACCOUNT_NAME,
    DAY_SECONDS,
    INVALID_SINCE,
    SINCE,
    TRACKING,
    TRACKING_NAMESPACE,
    TYPE,
    day_of,
)
from kontinuum.api.kubernetes.resources import CONFIGMAPS, PODS, SECRETS, SERVICEACCOUNTS
from kontinuum.api.machinery.objects import Object, annotations_of, name_of, namespace_of, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result
from kontinuum.controllers.context import Context
from kontinuum.controllers.frame import SelectionReconciler
from kontinuum.controllers.lib.unused_tokens import Patience, Verdict, is_idle, is_tracked, secrets_of, verdict


class UnusedTokensReconciler(SelectionReconciler):
    """Keys are the Secrets of tokens, each looked at once a day."""

    name = "legacy-serviceaccount-token-cleaner-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context, context.selection(SECRETS, fields=f"type={TYPE}"))
        self._accounts = context.informer(SERVICEACCOUNTS)
        self._seconds = context.settings.unused_token_seconds

    async def reconcile(self, key: str) -> Result:
        """Mark one token, or remove it."""
        secret = self._objects.get(key)
        if secret is None:
            return DONE
        patience = Patience(self._context.clock.time(), self._seconds)
        if is_idle(secret, self._account_of(secret), patience) and await self._is_superfluous(secret, patience):
            await self._act(secret, patience)
        return Result(DAY_SECONDS)

    async def _is_superfluous(self, secret: Object, patience: Patience) -> bool:
        """What our copies do not tell is asked of the API; this is rare."""
        if not is_tracked(await self._tracked_since(), patience):
            return False
        pods = await self._client.list(PODS, namespace=namespace_of(secret))
        return not any(name_of(secret) in secrets_of(pod) for pod in pods.items)

    async def _act(self, secret: Object, patience: Patience) -> None:
        name, namespace = name_of(secret), namespace_of(secret)
        # The version, because it may have been used or unmarked just now.
        version = secret["metadata"]["resourceVersion"]
        try:
            match verdict(secret, patience):
                case Verdict.MARK:
                    labels = {INVALID_SINCE: day_of(patience.now)}
                    metadata = {"uid": uid_of(secret), "resourceVersion": version, "labels": labels}
                    await self._client.patch(SECRETS, name, {"metadata": metadata}, namespace=namespace)
                case Verdict.REMOVE:
                    await self._client.delete(
                        SECRETS, name, namespace=namespace, uid=uid_of(secret), resource_version=version
                    )
        except ApiError as error:
            if not error.is_not_found and not error.is_conflict:
                raise

    async def _tracked_since(self) -> str:
        """The day since which uses are written down; "" if nobody says so."""
        try:
            found = await self._client.get(CONFIGMAPS, TRACKING, namespace=TRACKING_NAMESPACE)
        except ApiError as error:
            if error.is_not_found:
                return ""
            raise
        return str((found.get("data") or {}).get(SINCE) or "")

    def _account_of(self, secret: Object) -> Object | None:
        return self._accounts.get(f"{namespace_of(secret)}/{annotations_of(secret).get(ACCOUNT_NAME, '')}")
