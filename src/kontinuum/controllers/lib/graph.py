"""Who owns whom: every object of the cluster as a node, every owner reference as an edge.

Pure bookkeeping and pure decisions for the garbage collector. The rules are those of Kubernetes'
``garbagecollector.go``; an owner that is referred to but was never seen is *unobserved*, and only the API can say
whether it exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from kontinuum.api.machinery.objects import Object, name_of, namespace_of, uid_of
from kontinuum.api.machinery.resources import Resource

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


@dataclass(frozen=True, slots=True)
class Owner:
    """One owner reference."""

    uid: str
    api_version: str
    kind: str
    name: str
    blocks: bool
    """The owner's foreground deletion waits for the child (``blockOwnerDeletion``)."""


@dataclass(frozen=True, slots=True)
class Node:
    """One object, as far as ownership goes."""

    uid: str
    resource: Resource
    namespace: str
    name: str
    version: str
    owners: tuple[Owner, ...] = ()
    finalizers: tuple[str, ...] = ()
    is_leaving: bool = False

    @property
    def waits_for_dependents(self) -> bool:
        """Is being deleted in the foreground: goes when its blocking dependents have gone."""
        return self.is_leaving and FOREGROUND in self.finalizers

    @property
    def releases_dependents(self) -> bool:
        """Is being deleted and leaves its dependents behind as orphans."""
        return self.is_leaving and ORPHAN in self.finalizers


def node_of(resource: Resource, obj: Object) -> Node:
    """The node of an object of which at least the metadata is there."""
    metadata = obj["metadata"]
    return Node(
        uid=uid_of(obj),
        resource=resource,
        namespace=namespace_of(obj),
        name=name_of(obj),
        version=metadata.get("resourceVersion", ""),
        owners=tuple(_owner(reference) for reference in metadata.get("ownerReferences") or ()),
        finalizers=tuple(metadata.get("finalizers") or ()),
        is_leaving="deletionTimestamp" in metadata,
    )


class Graph:
    """The nodes by uid, and each one's dependents."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._dependents: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, uid: str) -> Node | None:
        return self._nodes.get(uid)

    def uids(self) -> list[str]:
        return list(self._nodes)

    def dependents(self, uid: str) -> list[Node]:
        """The nodes that name ``uid`` as an owner, also when that owner was never seen."""
        return [self._nodes[one] for one in sorted(self._dependents.get(uid, ()))]

    def observe(self, node: Node) -> list[str]:
        """Take in a node as it is now; answers the uids that should be looked at because of it."""
        old = self._nodes.get(node.uid)
        self._unlink(old)
        self._nodes[node.uid] = node
        for owner in node.owners:
            self._dependents.setdefault(owner.uid, set()).add(node.uid)
        # A child may have let go of an owner that waits for it, or no longer block it.
        waiting = [one.uid for one in (old.owners if old else ()) if one not in node.owners and self._waits(one.uid)]
        return [*([node.uid] if self._is_interesting(node) else []), *waiting]

    def remove(self, uid: str) -> list[str]:
        """Forget a node; answers the uids that should be looked at: its dependents, and owners that waited for it."""
        old = self._nodes.pop(uid, None)
        self._unlink(old)
        waiting = [o.uid for o in old.owners if self._waits(o.uid)] if old else []
        return [*sorted(self._dependents.get(uid, ())), *waiting]

    def _waits(self, uid: str) -> bool:
        node = self._nodes.get(uid)
        return node is not None and node.waits_for_dependents

    def _is_interesting(self, node: Node) -> bool:
        """True if something may have to be done: it waits or releases, or an owner is missing or waits."""
        if node.waits_for_dependents or node.releases_dependents:
            return True
        return any(owner.uid not in self._nodes or self._waits(owner.uid) for owner in node.owners)

    def _unlink(self, node: Node | None) -> None:
        for owner in node.owners if node else ():
            names = self._dependents.get(owner.uid)
            if names is not None:
                names.discard(node.uid if node else "")
                if not names:
                    del self._dependents[owner.uid]


class OwnerState(Enum):
    """What is known of an owner."""

    SOLID = "exists and stays"
    WAITING = "is being deleted in the foreground and waits for its dependents"
    ABSENT = "does not exist, as the API itself has said"
    UNKNOWN = "cannot be looked up now"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do about one node; everything empty means nothing."""

    delete: str = ""
    """The propagation policy to delete it with."""
    drop_owners: tuple[str, ...] = ()
    """Uids of owners to strike from its references."""
    unblock: bool = False
    """Let its owners no longer wait for it, because it waits for them: a circle."""
    drop_finalizer: str = ""
    orphan: tuple[Node, ...] = ()
    """Dependents that are to be released first."""
    look_at: tuple[str, ...] = ()
    """Dependents that hold it up and must be looked at."""


def plan(node: Node, owners: Mapping[str, OwnerState], dependents: Sequence[Node]) -> Plan:
    """What to do about ``node``, given the state of each of its owners and what depends on it."""
    if node.releases_dependents:
        return Plan(orphan=tuple(dependents), drop_finalizer=ORPHAN)
    if node.waits_for_dependents:
        blocking = [one for one in dependents if _blocks(one, node.uid)]
        if not blocking:
            return Plan(drop_finalizer=FOREGROUND)
        return Plan(look_at=tuple(one.uid for one in blocking if not one.waits_for_dependents))
    if node.is_leaving or not node.owners or OwnerState.UNKNOWN in owners.values():
        return Plan()
    useless = _in_state(owners, OwnerState.ABSENT, OwnerState.WAITING)
    if _in_state(owners, OwnerState.SOLID):
        return Plan(drop_owners=tuple(useless))
    if _in_state(owners, OwnerState.WAITING) and dependents:
        # Its own dependents go first. If one of them is waiting already, waiting for each other would never end.
        return Plan(delete="Foreground", unblock=any(one.waits_for_dependents for one in dependents))
    return Plan(delete=_propagation(node))


def _in_state(owners: Mapping[str, OwnerState], *states: OwnerState) -> list[str]:
    return [uid for uid, state in owners.items() if state in states]


def _blocks(dependent: Node, uid: str) -> bool:
    return any(owner.uid == uid and owner.blocks for owner in dependent.owners)


def _propagation(node: Node) -> str:
    """A finalizer that is there already is somebody's wish."""
    if ORPHAN in node.finalizers:
        return "Orphan"
    return "Foreground" if FOREGROUND in node.finalizers else "Background"


def _owner(reference: Mapping[str, Any]) -> Owner:
    return Owner(
        uid=reference["uid"],
        api_version=reference["apiVersion"],
        kind=reference["kind"],
        name=reference["name"],
        blocks=bool(reference.get("blockOwnerDeletion")),
    )


def references_without(obj: Object, uids: Iterable[str]) -> list[Object]:
    """The owner references of ``obj`` but those to ``uids``."""
    gone = set(uids)
    return [one for one in obj["metadata"].get("ownerReferences") or () if one["uid"] not in gone]
