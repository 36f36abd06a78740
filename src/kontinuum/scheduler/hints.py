"""Which events can help a pod that found no node: one hint for each plugin that may have refused it.

A hint answers for one event and one kind of waiting pod. It may say yes too often (the pod is looked at in vain), never
no wrongly (the pod would wait until the timed look, minutes later). A plugin without a hint is helped by everything.
The rules are those of Kubernetes' ``EventsToRegister`` and its QueueingHintFns, 1.36; where the snapshot can tell more
exactly whether a node has become good, it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kontinuum.api.machinery.objects import Object, key_of, labels_of, name_of, namespace_of
from kontinuum.api.machinery.selectors import NOTHING
from kontinuum.client.informer import Change
from kontinuum.scheduler.amounts import pod_requests
from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.events import ASSIGNED_POD, NODE, WAITING_POD, Event
from kontinuum.scheduler.filters import (
    Filter,
    node_name,
    ports,
    resources,
    taints,
    unschedulable,
    volume_binding,
    volume_limits,
    volume_restrictions,
    volume_zone,
)
from kontinuum.scheduler.filters import affinity as node_affinity
from kontinuum.scheduler.groups import group_key
from kontinuum.scheduler.occupants import Occupants
from kontinuum.scheduler.profiles import GANGS
from kontinuum.scheduler.reading import node_of
from kontinuum.scheduler.snapshot import Snapshot
from kontinuum.scheduler.storage import hints as storage
from kontinuum.scheduler.terms import Role


@dataclass(frozen=True, slots=True)
class Waiter:
    """A pod that found no node, and all that are like it."""

    demand: Demand
    priority: int
    group: str = ""
    """The key of its pod group."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What hints may look at."""

    snapshot: Snapshot
    occupants: Occupants


Helps = Callable[[Waiter, Event, Cluster], bool]
Cause = tuple[str, Change]
"""Kind of an event and what happened."""


@dataclass(frozen=True, slots=True)
class Hint:
    causes: frozenset[Cause]
    """Other events are of no interest."""
    helps: Helps


NODE_CAME: tuple[Cause, ...] = ((NODE, "added"), (NODE, "updated"))
POD_LEFT: tuple[Cause, ...] = ((ASSIGNED_POD, "deleted"), (ASSIGNED_POD, "updated"))


def always(waiter: Waiter, event: Event, cluster: Cluster) -> bool:
    return True


def changes_load(event: Event) -> bool:
    """A node that changed, a pod that left, or one that was resized in place: not one that was only relabelled.

    A smaller wish frees nothing yet: what the pod's status says of it counts until its node has granted it.
    """
    if event.kind == NODE or event.old is None or event.old["spec"] != event.new["spec"]:
        return True
    return pod_requests(event.old) != pod_requests(event.new)


def lets_through_now(one: Filter) -> Helps:
    """The node of the event passes this filter as it is now."""

    def helps(waiter: Waiter, event: Event, cluster: Cluster) -> bool:
        if not changes_load(event):
            return False
        row = cluster.snapshot.row_of.get(place_of(event))
        return row is not None and bool(one.fits(waiter.demand, cluster.snapshot)[row])

    return helps


def has_room_now(waiter: Waiter, event: Event, cluster: Cluster) -> bool:
    """What was asked for is there, or it would be if less important pods made way."""
    node = place_of(event)
    row = cluster.snapshot.row_of.get(node)
    if row is None or not changes_load(event):
        return False
    snapshot, demand = cluster.snapshot, waiter.demand
    if all(
        snapshot.requested(resource)[row] + amount <= snapshot.allocatable(resource)[row]
        for resource, amount in demand.requests.items()
    ):
        return True
    return demand.preempts and cluster.occupants.has_below(node, waiter.priority)


def changes_labels(event: Event) -> bool:
    """A node or pod that comes or goes, or whose labels are others now."""
    return event.old is None or labels_of(event.old) != labels_of(event.new)


def changes_domains(waiter: Waiter, event: Event, cluster: Cluster) -> bool:
    """A node's labels say in which zones it is; a pod counts in its zone for pods of its own namespace."""
    if event.kind == NODE:
        return changes_labels(event)
    return namespace_of(event.new) == waiter.demand.namespace


def changes_neighbours(waiter: Waiter, event: Event, cluster: Cluster) -> bool:
    """A pod that is wanted has come, one that is shunned or shuns others has gone, or one is either by new labels."""
    if event.kind != ASSIGNED_POD:
        return changes_labels(event)
    came, went = event.change != "deleted", event.change == "deleted"
    if event.old is not None:
        came = went = changes_labels(event)
    return (came and is_meant(waiter, event, Role.REQUIRED)) or (
        went and (is_meant(waiter, event, Role.FORBIDDEN) or shuns(event.new))
    )


def is_meant(waiter: Waiter, event: Event, role: Role) -> bool:
    """The pod of the event, as it is or was, is one that a term of the waiting pod speaks of."""
    return any(
        term.role is role
        # Whose namespace's labels decide is taken for one that is meant: they may have changed meanwhile.
        and (term.pods.namespace_selector != NOTHING or namespace_of(pod) in term.pods.namespaces)
        and term.pods.selector.matches(labels_of(pod))
        for term in waiter.demand.terms
        for pod in (event.new, event.old)
        if pod is not None
    )


def shuns(pod: Object) -> bool:
    """The pod keeps others away by required anti-affinity."""
    away = (pod["spec"].get("affinity") or {}).get("podAntiAffinity") or {}
    return bool(away.get("requiredDuringSchedulingIgnoredDuringExecution"))


def places(*filters: Filter) -> dict[str, Hint]:
    """Filters that a pod's departure does not help."""
    return {one.name: Hint(frozenset(NODE_CAME), lets_through_now(one)) for one in filters}


def completes_group(waiter: Waiter, event: Event, cluster: Cluster) -> bool:
    """The PodGroup itself, or another of its pods."""
    return waiter.group == (group_key(event.new) if event.kind in (WAITING_POD, ASSIGNED_POD) else key_of(event.new))


def of_volumes(helps: Callable[[Demand, Event], bool]) -> Helps:
    return lambda waiter, event, cluster: helps(waiter.demand, event)


CHANGES: tuple[Change, ...] = ("added", "updated", "deleted")
EVERY_CHANGE = frozenset((kind, change) for kind in (NODE, ASSIGNED_POD, "Namespace") for change in CHANGES)

HINTS: Mapping[str, Hint] = {
    **places(unschedulable.FILTER, node_name.FILTER, taints.FILTER, node_affinity.FILTER),
    ports.FILTER.name: Hint(frozenset((*NODE_CAME, *POD_LEFT)), lets_through_now(ports.FILTER)),
    resources.FILTER.name: Hint(frozenset((*NODE_CAME, *POD_LEFT)), has_room_now),
    GANGS: Hint(
        frozenset(((WAITING_POD, "added"), (ASSIGNED_POD, "added"), ("PodGroup", "added"), ("PodGroup", "updated"))),
        completes_group,
    ),
    "InterPodAffinity": Hint(EVERY_CHANGE, changes_neighbours),
    "PodTopologySpread": Hint(EVERY_CHANGE, changes_domains),
    volume_restrictions.FILTER.name: Hint(storage.RESTRICTIONS, of_volumes(storage.gives_up_volumes)),
    volume_limits.FILTER.name: Hint(storage.LIMITS, of_volumes(storage.makes_room)),
    volume_binding.FILTER.name: Hint(storage.BINDING, of_volumes(storage.is_about_its_claims)),
    volume_zone.FILTER.name: Hint(storage.ZONE, of_volumes(storage.is_about_its_claims)),
}


def place_of(event: Event) -> str:
    """The node that an event is about."""
    return name_of(event.new) if event.kind == NODE else node_of(event.new)
