"""Secrets of type ``kubernetes.io/service-account-token``: filled with a token, and gone with their account.

Such a token never expires. Since Kubernetes 1.24 nobody gets one unasked: who needs one creates the Secret, whose
annotation names the account.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kontinuum.api.kubernetes.account_tokens import ACCOUNT_NAME, ACCOUNT_UID, TYPE
from kontinuum.api.kubernetes.resources import SECRETS, SERVICEACCOUNTS
from kontinuum.api.machinery.objects import Object, annotations_of, key_of, name_of, namespace_of, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.writes import Writer
from kontinuum.controllers.context import Context
from kontinuum.controllers.frame import KeyReconciler

ISSUER = "kubernetes/serviceaccount"
"""What the older tokens say; API servers know by it that the token must still stand in its Secret."""


@dataclass(frozen=True, slots=True)
class Plan:
    """At most one of the two."""

    fill: Object | None = None
    """The Secret as it should be."""
    delete: bool = False


def plan(secret: Object, account: Object | None, sign: Callable[[Object], str], authorities: str) -> Plan:
    """``account`` is the one that the Secret names; ``sign`` makes a token of its claims."""
    named = annotations_of(secret).get(ACCOUNT_UID)
    if account is None or (named and named != uid_of(account)):
        return Plan(delete=True)
    if "deletionTimestamp" in secret["metadata"]:
        return Plan()
    data = dict(secret.get("data") or {})
    if authorities and data.get("ca.crt") != _encoded(authorities):
        data["ca.crt"] = _encoded(authorities)
    if not data.get("namespace"):
        data["namespace"] = _encoded(namespace_of(secret))
    if not data.get("token"):
        data["token"] = _encoded(sign(claims(secret, account)))
    metadata = {**secret["metadata"], "annotations": {**annotations_of(secret), ACCOUNT_UID: uid_of(account)}}
    wanted = {**secret, "metadata": metadata, "data": data}
    return Plan() if wanted == secret else Plan(fill=wanted)


def claims(secret: Object, account: Object) -> Object:
    """The flat ones of the older tokens (kubernetes ``pkg/serviceaccount/legacy.go``)."""
    namespace, name = namespace_of(account), name_of(account)
    return {
        "iss": ISSUER,
        "sub": f"system:serviceaccount:{namespace}:{name}",
        "kubernetes.io/serviceaccount/namespace": namespace,
        "kubernetes.io/serviceaccount/secret.name": name_of(secret),
        "kubernetes.io/serviceaccount/service-account.name": name,
        "kubernetes.io/serviceaccount/service-account.uid": uid_of(account),
    }


def _encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


class TokensReconciler(KeyReconciler):
    """The hand that carries ``plan`` out. Keys are Secrets'."""

    name = "serviceaccount-token-controller"

    def __init__(self, context: Context) -> None:
        self._secrets = context.selection(SECRETS, fields=f"type={TYPE}")
        super().__init__(context, SERVICEACCOUNTS)
        settings = context.settings
        self._key = Path(settings.service_account_key)
        self._authorities = Path(settings.root_ca).read_text() if settings.root_ca else ""
        self._secrets.add_handler(lambda change, obj, old: self._workers.queue.add(key_of(obj)))

    def look_again(self) -> None:
        """See ``Reconciler``."""
        for key in self._secrets.all_keys():
            self._workers.queue.add(key)

    async def reconcile(self, key: str) -> Result:
        """Fill one Secret, or remove it."""
        secret = self._secrets.get(key)
        name = annotations_of(secret).get(ACCOUNT_NAME) if secret is not None else None
        if secret is None or not name:
            return DONE
        account = self._objects.get(f"{namespace_of(secret)}/{name}")
        todo = plan(secret, account, self._sign, self._authorities)
        if todo.delete:
            # Our copy may be old: an account that has just been made must not cost its tokens.
            todo = plan(secret, await self._fresh(namespace_of(secret), name), self._sign, self._authorities)
        writer = Writer(self._client, self._writes, key)
        if todo.delete:
            await writer.delete(SECRETS, secret)
        elif todo.fill is not None:
            await writer.update(SECRETS, todo.fill)
        return DONE

    def _sign(self, claims: Object) -> str:
        # Here, because only clusters in which somebody asks for such tokens need the library.
        from kontinuum.foundation import jwt

        return jwt.sign(jwt.load_signing_key(self._key), claims)

    async def _fresh(self, namespace: str, name: str) -> Object | None:
        try:
            return await self._client.get(SERVICEACCOUNTS, name, namespace=namespace)
        except ApiError as error:
            if error.is_not_found:
                return None
            raise

    def _object_changed(self, change: str, obj: Object, old: Object | None) -> None:
        """An account that comes or goes concerns the Secrets that name it."""
        if change == "updated":
            return
        for secret in self._secrets.items():
            if namespace_of(secret) == namespace_of(obj) and annotations_of(secret).get(ACCOUNT_NAME) == name_of(obj):
                self._workers.queue.add(key_of(secret))
