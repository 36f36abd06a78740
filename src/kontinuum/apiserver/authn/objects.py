"""How authentication looks at objects: service accounts, their pods and nodes, Secrets with bootstrap tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource


@dataclass(frozen=True, slots=True)
class Identified:
    """As much of an object as tells whether it is still the one that a credential was made for."""

    uid: str
    deletion: str
    """Its deletionTimestamp, "" while nobody wants its end."""
    revision: int


class Objects(Protocol):
    """Fresh enough to have seen any write that has returned."""

    async def find(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The object; None if there is none."""
        ...

    async def identify(self, resource: Resource, namespace: str, name: str) -> Identified | None:
        """The same without decoding more than is needed."""
        ...

    async def label(self, resource: Resource, obj: Object, labels: Mapping[str, str]) -> None:
        """Give the object labels, as it was found; no harm is done if it is another meanwhile, or cannot be written."""
        ...

    def revision_of(self, resource: Resource, namespace: str, name: str) -> int:
        """The object's revision in the cache, 0 if it is not there: what has not changed need not be looked at."""
        ...
