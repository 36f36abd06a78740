"""What says which pods belong together, fed into the snapshot: labels of namespaces, Services, and controllers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from kontinuum.api.kubernetes.resources import (
    NAMESPACES,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    SERVICES,
    STATEFULSETS,
)
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.client.informer import Change, Informer
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import Clock
from kontinuum.scheduler.companion import Tell
from kontinuum.scheduler.events import Event
from kontinuum.scheduler.snapshot import Snapshot

SELECTING = (SERVICES, REPLICASETS, STATEFULSETS, REPLICATIONCONTROLLERS)


class Relations:
    """The companion of inter-pod affinity and of default spreading."""

    informers: Sequence[Informer]

    def __init__(self, client: Client, clock: Clock, snapshot: Snapshot, tell: Tell) -> None:
        self._snapshot = snapshot
        self._tell = tell
        namespaces = Informer(client, NAMESPACES, clock=clock, trim=_trim(NAMESPACES))
        namespaces.add_handler(self._namespace_changed)
        self.informers = [namespaces]
        for resource in SELECTING:
            informer = Informer(client, resource, clock=clock, trim=_trim(resource))
            informer.add_handler(self._selecting_changed)
            self.informers.append(informer)

    def reserve(self, pod: Object, node: str) -> None:
        """Nothing is taken."""

    def release(self, pod: Object, node: str) -> None:
        """Nothing was taken."""

    async def before_binding(self, pod: Object, node: str) -> None:
        """Nothing has to be done."""

    def _namespace_changed(self, change: Change, namespace: Object, old: Object | None) -> None:
        if change == "deleted":
            self._snapshot.census.remove_namespace(name_of(namespace))
        elif self._snapshot.set_namespace(namespace):
            self._tell(Event(NAMESPACES.kind, change, namespace, old))

    def _selecting_changed(self, change: Change, obj: Object, old: Object | None) -> None:
        # Default spreading is soft: no pod waits for a change of it.
        if change == "deleted":
            self._snapshot.selecting.remove(obj)
        else:
            self._snapshot.selecting.put(obj)


def _trim(resource: Resource) -> Callable[[Object], Object]:
    return partial(_keep, resource.kind)


def _keep(kind: str, obj: Object) -> Object:
    """Labels and the selector; with the kind, which items of lists do not say."""
    metadata = {field: obj["metadata"][field] for field in ("name", "namespace", "labels") if field in obj["metadata"]}
    selector = (obj.get("spec") or {}).get("selector")
    return {"kind": kind, "metadata": metadata, "spec": {"selector": selector} if selector else {}}
