"""The objects behind credentials, from the server's own caches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import structlog

from kontinuum.api.machinery.objects import Object, labels_of, name_of, namespace_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.authn.objects import Identified
from kontinuum.apiserver.context import Context
from kontinuum.store.port import Missing, StaleRevision, StoreFull, StoreUnavailable, ValueTooLarge

log = structlog.get_logger(__name__)


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

    async def label(self, resource: Resource, obj: Object, labels: Mapping[str, str]) -> None:
        served = self._context.served[resource]
        metadata = {**obj["metadata"], "labels": {**labels_of(obj), **labels}}
        value = served.layout.encode({**obj, "metadata": metadata})
        key = served.layout.key(namespace_of(obj), name_of(obj))
        try:
            await self._context.store.update(key, value, expected=int(obj["metadata"]["resourceVersion"]))
        except (StaleRevision, Missing):
            return  # The next use finds it as it is then.
        except (StoreFull, StoreUnavailable, ValueTooLarge) as error:
            log.warning("an object cannot be labelled", key=key, labels=dict(labels), error=str(error))

    def revision_of(self, resource: Resource, namespace: str, name: str) -> int:
        cache = self._context.served[resource].cache
        entry = cache.get(cache.layout.key(namespace, name))
        return entry.revision if entry is not None else 0
