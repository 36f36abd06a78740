"""What every reconciler is given: the API, the clock, shared informers, and a voice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from kontinuum.api.kubernetes import binding
from kontinuum.api.kubernetes.claims import class_of
from kontinuum.api.kubernetes.resources import (
    CONTROLLERREVISIONS,
    CSIDRIVERS,
    DAEMONSETS,
    DEPLOYMENTS,
    ENDPOINTSLICES,
    JOBS,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    RESOURCECLAIMS,
    RESOURCEQUOTAS,
    SERVICES,
    STATEFULSETS,
    VOLUMEATTACHMENTS,
)
from kontinuum.api.machinery.objects import Object, labels_of, namespace_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.selectors import LabelSelector
from kontinuum.client.events import EventRecorder
from kontinuum.client.informer import Index, Informer
from kontinuum.client.rest import Client
from kontinuum.client.writes import OwnWrites
from kontinuum.controllers.lib.attachment import volume_of
from kontinuum.controllers.lib.claims import claims_of
from kontinuum.controllers.lib.owners import controller_uid
from kontinuum.controllers.lib.pods import Standing, is_active, node_of, standing_of
from kontinuum.controllers.lib.trims import POD, trim_attachment, trim_driver, trim_pod
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation.clock import Clock

BY_NAMESPACE = "namespace"
BY_CONTROLLER = "controller"
BY_NODE = "node"
INACTIVE = "inactive"
"""Pods that have finished or are leaving, all under ""."""
BY_SERVICE = "service"
BY_LABEL = "label"
BY_CLAIM = "claim"
"""Pods by the claims that they use, volumes by the claim that they are bound to or reserved for: ``namespace/name``."""
BY_VOLUME = "volume"
"""Claims by the volume that they have or ask for, attachments by their volume."""
UNBOUND = "unbound"
"""Claims that name no volume, and volumes that nobody has, by class."""


def by_namespace(obj: Object) -> list[str]:
    return [obj["metadata"].get("namespace", "")]


def _labels(obj: Object) -> list[str]:
    """A namespace may have thousands of pods, of which a selector means some."""
    namespace = namespace_of(obj)
    return [f"{namespace}/{key}={value}" for key, value in labels_of(obj).items()]


def _controller(obj: Object) -> list[str]:
    """Orphans of a namespace stand together, because whoever adopts looks for them there."""
    return [controller_uid(obj) or f"orphans of {obj['metadata'].get('namespace', '')}"]


def _service(obj: Object) -> list[str]:
    """The key of the Service that an EndpointSlice says it belongs to."""
    name = labels_of(obj).get("kubernetes.io/service-name")
    return [f"{namespace_of(obj)}/{name}"] if name else []


def _claims(pod: Object) -> list[str]:
    return [f"{namespace_of(pod)}/{name}" for name in claims_of(pod)]


def _unbound_claim(claim: Object) -> list[str]:
    return [] if binding.volume_of(claim) else [class_of(claim)]


def _unbound_volume(volume: Object) -> list[str]:
    return [] if binding.claim_key(volume) else [binding.class_of_volume(volume)]


_INDEXES: Mapping[Resource, Mapping[str, Index]] = {
    PODS: {
        BY_CONTROLLER: _controller,
        BY_NODE: lambda pod: [node_of(pod)],
        INACTIVE: lambda pod: [] if is_active(pod) else [""],
        BY_NAMESPACE: by_namespace,
        BY_CLAIM: _claims,
        BY_LABEL: _labels,
    },
    PERSISTENTVOLUMECLAIMS: {
        UNBOUND: _unbound_claim,
        BY_VOLUME: lambda claim: [name] if (name := binding.volume_of(claim)) else [],
    },
    VOLUMEATTACHMENTS: {
        BY_VOLUME: lambda attachment: [name] if (name := volume_of(attachment)) else [],
        BY_NODE: lambda attachment: [attachment["spec"].get("nodeName", "")],
    },
    PERSISTENTVOLUMES: {
        UNBOUND: _unbound_volume,
        BY_CLAIM: lambda volume: [key] if (key := binding.claim_key(volume)) else [],
    },
    SERVICES: {BY_NAMESPACE: by_namespace},
    ENDPOINTSLICES: {BY_SERVICE: _service},
    DEPLOYMENTS: {BY_NAMESPACE: by_namespace},
    REPLICASETS: {BY_CONTROLLER: _controller, BY_NAMESPACE: by_namespace},
    REPLICATIONCONTROLLERS: {BY_CONTROLLER: _controller, BY_NAMESPACE: by_namespace},
    DAEMONSETS: {BY_NAMESPACE: by_namespace},
    JOBS: {BY_CONTROLLER: _controller, BY_NAMESPACE: by_namespace},
    STATEFULSETS: {BY_NAMESPACE: by_namespace},
    CONTROLLERREVISIONS: {BY_CONTROLLER: _controller},
    RESOURCEQUOTAS: {BY_NAMESPACE: by_namespace},
    RESOURCECLAIMS: {BY_CONTROLLER: _controller},
}


class Reconciler(Protocol):
    """One kind's controller. Its constructor subscribes to informers; nothing happens before ``run``."""

    name: str

    async def run(self) -> None:
        """Work until cancelled; the informers are synced."""
        ...

    def look_again(self) -> None:
        """Queue everything there is."""
        ...


@dataclass(slots=True)
class Context:
    """See the module."""

    client: Client
    clock: Clock
    settings: ControllersSettings
    component: str = "kontinuum-controllers"
    informers: dict[Resource, Informer] = field(default_factory=dict)
    selections: list[Informer] = field(default_factory=list)
    recorders: dict[str, EventRecorder] = field(default_factory=dict)
    needs: list[Informer] = field(default_factory=list)
    """The informers that were asked for here."""

    def of_one(self) -> Context:
        """The same for one reconciler: everything is shared but what it needs."""
        return replace(self, needs=[])

    def informer(self, resource: Resource) -> Informer:
        """The one informer of ``resource`` that all reconcilers share."""
        if resource not in self.informers:
            self.informers[resource] = Informer(
                self.client,
                resource,
                clock=self.clock,
                indexes=_INDEXES.get(resource),
                trim=_TRIMS.get(resource),
                shape=POD if resource == PODS else None,
                digest=standing_of if resource == PODS else None,
            )
        self.needs.append(self.informers[resource])
        return self.informers[resource]

    def selection(self, resource: Resource, *, fields: str) -> Informer:
        """An informer of one's own, of those objects alone that the field selector ``fields`` names."""
        informer = Informer(self.client, resource, clock=self.clock, fields=fields)
        self.selections.append(informer)
        self.needs.append(informer)
        return informer

    def recorder(self, component: str) -> EventRecorder:
        """A voice under ``component``'s name, as ``kubectl describe`` shows it: ``deployment-controller``."""
        if component not in self.recorders:
            self.recorders[component] = EventRecorder(self.client, component, clock=self.clock)
        return self.recorders[component]

    def own_writes(self, *resources: Resource) -> OwnWrites:
        """A memory of one's own writes to ``resources``."""
        return OwnWrites({resource: self.informer(resource) for resource in resources}, self.clock)


def standings(pods: Informer, owner: Object) -> list[Standing]:
    """What the pods that ``owner`` controls count for."""
    return pods.digests(BY_CONTROLLER, owner["metadata"]["uid"])


def has_orphans(informer: Informer, namespace: str) -> bool:
    """Whether anything in ``namespace`` might be adopted."""
    return informer.count(BY_CONTROLLER, f"orphans of {namespace}") > 0


def children(informer: Informer, owner: Object) -> list[Object]:
    """What ``owner`` controls or might adopt: its own children, and the orphans of its namespace."""
    metadata = owner["metadata"]
    orphans = informer.by_index(BY_CONTROLLER, f"orphans of {metadata.get('namespace', '')}")
    return [*informer.by_index(BY_CONTROLLER, metadata["uid"]), *orphans]


def selected(pods: Informer, namespace: str, selector: LabelSelector) -> list[Object]:
    """The pods of ``namespace`` that ``selector`` means."""
    if selector.nothing:
        return []
    exact = [f"{namespace}/{key}={value}" for key, value in selector.equalities()]
    rarest = min(exact, key=lambda one: pods.count(BY_LABEL, one), default=None)
    found = pods.by_index(BY_NAMESPACE, namespace) if rarest is None else pods.by_index(BY_LABEL, rarest)
    return [pod for pod in found if selector.matches(labels_of(pod))]


_TRIMS: Mapping[Resource, Callable[[Object], Object]] = {
    PODS: trim_pod,
    VOLUMEATTACHMENTS: trim_attachment,
    CSIDRIVERS: trim_driver,
}
