"""The objects behind credentials, from the server's own caches."""

from __future__ import annotations

from typing import Any

import msgspec

from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.authn.objects import Identified
from kontinuum.apiserver.context import Context


class _Metadata(msgspec.Struct, rename="camel"):
    uid: str = ""
    deletion_timestamp: str | None = None


class _Identified(msgspec.Struct):
    metadata: _Metadata


_decode: Any = msgspec.json.Decoder(_Identified).decode


class CachedObjects:
    """See ``authn.objects.Objects``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def find(self, resource: Resource, namespace: str, name: str) -> Object | None:
        return await self._context.find(resource, namespace, name)

    async def identify(self, resource: Resource, namespace: str, name: str) -> Identified | None:
        cache = self._context.served[resource].cache
        key = cache.layout.key(namespace, name)
        entry = cache.get(key)
        if entry is None:
            await self._context.catch_up()
            entry = cache.get(key)
            if entry is None:
                return None
        metadata = _decode(entry.value).metadata
        return Identified(metadata.uid, metadata.deletion_timestamp or "", entry.revision)

    def revision_of(self, resource: Resource, namespace: str, name: str) -> int:
        cache = self._context.served[resource].cache
        entry = cache.get(cache.layout.key(namespace, name))
        return entry.revision if entry is not None else 0
