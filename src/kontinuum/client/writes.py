"""Writes that are remembered until our own informers have shown them.

A reconciler decides by what its informers know. Between a write and its event that knowledge is older than the
reconciler's own doing: deciding again would create a second pod, or scale twice. So each key has a list of writes that
have not come back yet, and is left alone until it is empty (or until patience ends: an event may never come if the
object vanished in between, or if somebody else's write made ours invisible).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kontinuum.api.machinery.objects import Object, key_of, name_of, namespace_of, uid_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.informer import Informer
from kontinuum.client.rest import Client, PatchKind
from kontinuum.client.shapes import Shape
from kontinuum.foundation.clock import Clock

PATIENCE = 30.0
"""Seconds after which a write that never came back is no longer waited for."""


@dataclass(slots=True)
class _Unseen:
    """What one key has written. Whoever has seen the newest version of a resource has seen all that came before it."""

    newest: dict[Resource, int] = field(default_factory=dict)
    deleted: list[tuple[Resource, str, str]] = field(default_factory=list)
    """Resource, key and uid of each."""
    until: float = 0.0
    """When patience with all of it ends."""


class OwnWrites:
    """What each key has written and not yet seen. ``informers`` are the ones its reconciler reads."""

    def __init__(self, informers: Mapping[Resource, Informer], clock: Clock) -> None:
        self._informers = informers
        self._clock = clock
        self._unseen: dict[str, _Unseen] = {}

    def are_seen(self, key: str) -> bool:
        """True if everything that was written for ``key`` has come back."""
        unseen = self._unseen.get(key)
        if unseen is None:
            return True
        if self._clock.monotonic() < unseen.until:
            if not all(self._informers[one].has_seen(version) for one, version in unseen.newest.items()):
                return False
            unseen.deleted = [one for one in unseen.deleted if not self._is_gone(*one)]
            if unseen.deleted:
                return False
        del self._unseen[key]
        return True

    def note(self, key: str, resource: Resource, answer: Object, *, deletion: bool = False) -> None:
        """Remember a write for ``key``: ``answer`` is the object that it made, or that it deleted."""
        if resource not in self._informers:
            return
        unseen = self._unseen.setdefault(key, _Unseen())
        unseen.until = self._clock.monotonic() + PATIENCE
        if deletion:
            unseen.deleted.append((resource, key_of(answer), uid_of(answer)))
        else:
            version = int(answer["metadata"]["resourceVersion"])
            unseen.newest[resource] = max(version, unseen.newest.get(resource, 0))

    def _is_gone(self, resource: Resource, key: str, uid: str) -> bool:
        cached = self._informers[resource].get(key)
        return cached is None or uid_of(cached) != uid or "deletionTimestamp" in cached["metadata"]


class Writer:
    """The client's writing half, on behalf of one key."""

    def __init__(self, client: Client, writes: OwnWrites, key: str) -> None:
        self._client = client
        self._writes = writes
        self._key = key

    async def create(self, resource: Resource, obj: Object, *, shape: Shape = None) -> Object:
        """As ``Client.create``; ``shape`` includes ``MADE``."""
        answer = await self._client.create(resource, obj, shape=shape)
        self._writes.note(self._key, resource, answer)
        return answer

    async def update(self, resource: Resource, obj: Object, *, subresource: str = "") -> Object:
        """As ``Client.update``."""
        answer = await self._client.update(resource, obj, subresource=subresource)
        self._writes.note(self._key, resource, answer)
        return answer

    async def patch(
        self,
        resource: Resource,
        obj: Object,
        patch: Object | Sequence[Object],
        *,
        subresource: str = "",
        kind: PatchKind = "merge",
    ) -> Object:
        """Patch the object that ``obj`` is a copy of."""
        answer = await self._client.patch(
            resource, name_of(obj), patch, namespace=namespace_of(obj), subresource=subresource, kind=kind
        )
        self._writes.note(self._key, resource, answer)
        return answer

    async def delete(
        self, resource: Resource, obj: Object, *, propagation: str = "", grace_seconds: int | None = None
    ) -> None:
        """Delete exactly the object that ``obj`` is a copy of; one that is gone already is no error."""
        try:
            await self._client.delete(
                resource,
                name_of(obj),
                namespace=namespace_of(obj),
                uid=uid_of(obj),
                propagation=propagation,
                grace_seconds=grace_seconds,
            )
        except ApiError as error:
            # A conflict means that another object has the name now: ours is gone.
            if not error.is_not_found and not error.is_conflict:
                raise
        self._writes.note(self._key, resource, obj, deletion=True)
