"""The order in which plug-ins see a write: all that change it, then (it is complete and valid) all that judge it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource


@dataclass(slots=True)
class Attributes:
    """One write as plug-ins see it. ``verb`` is create, update or delete; a patch is an update."""

    verb: str
    resource: Resource
    subresource: str
    namespace: str
    name: str
    obj: Object | None
    """The object to be stored, which ``admit`` may change in place; None for a delete."""
    old: Object | None
    """The object as it is stored; None for a create."""
    user: str


class Reader(Protocol):
    """How plug-ins look at other objects."""

    async def find(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The object, fresh enough to have seen any write that has returned; None if there is none."""
        ...


class Plugin(Protocol):
    """Both methods raise ApiError to refuse."""

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        """Change ``attributes.obj``."""
        ...

    async def validate(self, attributes: Attributes, reader: Reader) -> None:
        """Judge the object as it would be stored."""
        ...


class Base:
    """A plug-in that does nothing; real ones override one method or both."""

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        """Changes nothing."""

    async def validate(self, attributes: Attributes, reader: Reader) -> None:
        """Refuses nothing."""


class Chain:
    """Plug-ins in Kubernetes' order."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        # Most plug-ins do one of the two; calling only those that override it keeps writes cheap.
        self._admitting = [one for one in plugins if type(one).admit is not Base.admit]
        self._validating = [one for one in plugins if type(one).validate is not Base.validate]

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        for plugin in self._admitting:
            await plugin.admit(attributes, reader)

    async def validate(self, attributes: Attributes, reader: Reader) -> None:
        for plugin in self._validating:
            await plugin.validate(attributes, reader)
