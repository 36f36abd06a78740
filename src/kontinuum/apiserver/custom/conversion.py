"""Custom objects between their versions (``versions.Converter``).

Objects lie in the store in whichever version they were written last, so each is looked at; what has the right version
already is not touched. What comes out of a conversion is pruned by the schema of the version that it is in now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import orjson

from kontinuum.api.kubernetes.custom import shape
from kontinuum.api.kubernetes.custom.schema import Schema
from kontinuum.api.machinery.objects import Object


class Convert(Protocol):
    """How a definition's ``spec.conversion`` converts."""

    async def __call__(self, objects: list[Object], version: str) -> list[Object]:
        """``objects``, none of which is in ``version`` yet, in it; they may be changed. Raises ApiError."""
        ...


async def rename_only(objects: list[Object], version: str) -> list[Object]:
    """The strategy ``None``: versions differ in their name only."""
    for obj in objects:
        obj["apiVersion"] = version
    return objects


class CustomConverter:
    """Between stored objects and one served version."""

    field_names: Mapping[str, str] = MappingProxyType({})

    def __init__(self, api_version: str, stored: str, schemas: Mapping[str, Schema], convert: Convert) -> None:
        """``stored``: the apiVersion to write; ``schemas`` by apiVersion."""
        self.api_version = api_version
        self._stored = stored
        self._schemas = schemas
        self._convert = convert
        self.is_external = convert is not rename_only

    async def present(self, values: Sequence[bytes]) -> Sequence[bytes]:
        mark = f'"apiVersion":"{self.api_version}",'.encode()
        others = [index for index, value in enumerate(values) if mark not in value[: value.index(b'"metadata"')]]
        if not others:
            return values
        found = list(values)
        converted = await self._to(self.api_version, [orjson.loads(values[index]) for index in others])
        for index, obj in zip(others, converted, strict=True):
            found[index] = orjson.dumps(obj)
        return found

    async def from_stored(self, objects: list[Object]) -> list[Object]:
        return await self._to(self.api_version, objects)

    async def to_stored(self, objects: list[Object]) -> list[Object]:
        if all(obj["apiVersion"] == self._stored for obj in objects):
            return objects
        return await self._to(self._stored, [orjson.loads(orjson.dumps(obj)) for obj in objects])

    async def _to(self, version: str, objects: list[Object]) -> list[Object]:
        others = [index for index, obj in enumerate(objects) if obj["apiVersion"] != version]
        if not others:
            return objects
        found = list(objects)
        converted = await self._convert([objects[index] for index in others], version)
        for index, obj in zip(others, converted, strict=True):
            shape.prune(obj, self._schemas[version])
            found[index] = obj
        return found
