"""Stored bytes of custom objects: each in the version in which it was written, completed as the schema is now.

As in Kubernetes, whatever is read from the store is pruned and defaulted by the schema of its stored version. Here it
happens once, when the bytes enter the cache; a changed schema reads everything again (``serving``).
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from kontinuum.api.kubernetes.custom import shape
from kontinuum.api.kubernetes.custom.schema import Schema
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.registry import Layout

METADATA = b'"metadata":{'


class CustomLayout(Layout):
    """``schemas`` by apiVersion."""

    def __init__(self, resource: Resource, schemas: Mapping[str, Schema]) -> None:
        super().__init__(resource)
        self._schemas = schemas

    def splice(self, value: bytes, revision: int) -> bytes:
        return super().splice(self._complete(value), revision)

    def _complete(self, value: bytes) -> bytes:
        obj: Object = orjson.loads(value)
        schema = self._schemas.get(obj["apiVersion"])
        if schema is None:
            return value
        shape.prune(obj, schema)
        shape.default(obj, schema)
        return orjson.dumps(obj)

    def _version_of(self, obj: Object) -> str:
        return str(obj["apiVersion"])

    def _opening(self, value: bytes) -> int:
        # Kind and version come first, and hold no quotes.
        return value.index(METADATA) + len(METADATA)
