"""ConfigMaps, Secrets, volumes and classes as pods on this node see them: read when needed, remembered for a moment.

Pods of one Deployment start together and name the same objects: without the moment each would ask again.
"""

from __future__ import annotations

from dataclasses import dataclass

from kontinuum.api.kubernetes.resources import (
    CONFIGMAPS,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    RUNTIMECLASSES,
    SECRETS,
)
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Retryable

REMEMBERED_SECONDS = 1.0
KINDS: dict[str, Resource] = {
    "configmap": CONFIGMAPS,
    "secret": SECRETS,
    "persistentvolumeclaim": PERSISTENTVOLUMECLAIMS,
    "persistentvolume": PERSISTENTVOLUMES,
    "RuntimeClass.node.k8s.io": RUNTIMECLASSES,
}


class SourceMissing(Retryable):
    """An object that a pod needs, or a key in it, does not exist (yet). The message is the kubelet's."""


@dataclass(slots=True)
class _Known:
    at: float
    obj: Object | None


class Sources:
    """Reads through ``client``."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._known: dict[tuple[str, str, str], _Known] = {}

    async def get(self, kind: str, namespace: str, name: str, *, optional: bool = False) -> Object | None:
        """The object; ``kind`` is one of KINDS. None if it is optional and absent.

        Raises SourceMissing if it is absent and not optional.
        """
        key = (kind, namespace, name)
        known = self._known.get(key)
        if known is None or self._clock.monotonic() - known.at >= REMEMBERED_SECONDS:
            self._forget_old()
            known = self._known[key] = _Known(self._clock.monotonic(), await self._read(kind, namespace, name))
        if known.obj is None and not optional:
            raise SourceMissing(f'{kind} "{name}" not found')
        return known.obj

    async def tell_claim(self, claim: Object, news: Object) -> None:
        """Patch a claim's status, unless it has changed meanwhile: then it is told another time. Raises ApiError."""
        namespace, name = claim["metadata"]["namespace"], claim["metadata"]["name"]
        try:
            await self._client.patch(PERSISTENTVOLUMECLAIMS, name, news, namespace=namespace, subresource="status")
        except ApiError as error:
            if not error.is_conflict:
                raise

    async def handler(self, runtime_class: str) -> str:
        """The handler of a RuntimeClass, which is what the container runtime knows; "" is the default one.

        Raises SourceMissing.
        """
        if not runtime_class:
            return ""
        found = await self.get("RuntimeClass.node.k8s.io", "", runtime_class)
        return str((found or {})["handler"])

    async def _read(self, kind: str, namespace: str, name: str) -> Object | None:
        try:
            return await self._client.get(KINDS[kind], name, namespace=namespace)
        except ApiError as error:
            if error.is_not_found:
                return None
            raise

    def _forget_old(self) -> None:
        now = self._clock.monotonic()
        self._known = {key: one for key, one in self._known.items() if now - one.at < REMEMBERED_SECONDS}
