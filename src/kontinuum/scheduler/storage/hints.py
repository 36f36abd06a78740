"""Which events can help a pod that its volumes kept from a node (``EventsToRegister`` of the four plugins, 1.36)."""

from __future__ import annotations

from kontinuum.api.kubernetes.resources import (
    CSIDRIVERS,
    CSINODES,
    CSISTORAGECAPACITIES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    STORAGECLASSES,
    VOLUMEATTACHMENTS,
)
from kontinuum.api.machinery.objects import key_of, labels_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.client.informer import Change
from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.events import ASSIGNED_POD, NODE, Event
from kontinuum.scheduler.storage.wishes import collide, read_wishes

Cause = tuple[str, Change]
NODE_CAME: frozenset[Cause] = frozenset({(NODE, "added"), (NODE, "updated")})
POD_LEFT: frozenset[Cause] = frozenset({(ASSIGNED_POD, "deleted")})


def _came(*kinds: Resource) -> frozenset[Cause]:
    changes: tuple[Change, ...] = ("added", "updated")
    return frozenset((kind.kind, change) for kind in kinds for change in changes)


RESTRICTIONS = _came(PERSISTENTVOLUMECLAIMS) | POD_LEFT
DETACHED: frozenset[Cause] = frozenset({(VOLUMEATTACHMENTS.kind, "deleted")})
LIMITS = _came(PERSISTENTVOLUMECLAIMS, CSINODES) | POD_LEFT | DETACHED
BINDING = NODE_CAME | _came(
    PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, STORAGECLASSES, CSIDRIVERS, CSISTORAGECAPACITIES, CSINODES
)
ZONE = NODE_CAME | _came(PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, STORAGECLASSES)


def is_about_its_claims(demand: Demand, event: Event) -> bool:
    """Of claims the pod's own count, of nodes their labels; everything else might help."""
    if event.kind == PERSISTENTVOLUMECLAIMS.kind:
        return key_of(event.new) in {demand.wishes.key(one) for one in demand.wishes.claims}
    if event.kind == NODE:
        return event.old is None or labels_of(event.old) != labels_of(event.new)
    return True


def gives_up_volumes(demand: Demand, event: Event) -> bool:
    """A pod that leaves lets go of a claim or disk that this one wants."""
    if event.kind != ASSIGNED_POD:
        return is_about_its_claims(demand, event)
    left = read_wishes(event.new)
    shared = {left.key(one) for one in left.claims} & {demand.wishes.key(one) for one in demand.wishes.claims}
    return bool(shared) or any(collide(one, other) for one in left.disks for other in demand.wishes.disks)


def makes_room(demand: Demand, event: Event) -> bool:
    """A pod with claims leaves, or a volume is detached."""
    return bool(read_wishes(event.new).claims) if event.kind == ASSIGNED_POD else is_about_its_claims(demand, event)
