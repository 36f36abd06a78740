"""The served kinds: one file for each family that has something special to say, and one table of all of them."""

from __future__ import annotations

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.kubernetes.kinds.configuration import ConfigMap, Secret, ServiceAccount
from kontinuum.api.kubernetes.kinds.events import Event, EventV1
from kontinuum.api.kubernetes.kinds.groups import GROUPS
from kontinuum.api.kubernetes.kinds.kind import Kind
from kontinuum.api.kubernetes.kinds.namespace import Namespace
from kontinuum.api.kubernetes.kinds.node import Node
from kontinuum.api.kubernetes.kinds.pod import Pod
from kontinuum.api.kubernetes.kinds.service import Endpoints, Service
from kontinuum.api.kubernetes.kinds.small import Lease, RuntimeClass
from kontinuum.api.kubernetes.kinds.workloads import ControllerRevision, Deployment, ReplicaSet
from kontinuum.api.machinery.resources import Resource

SPECIAL: dict[Resource, type[Kind]] = {
    r.NAMESPACES: Namespace,
    r.PODS: Pod,
    r.NODES: Node,
    r.CONFIGMAPS: ConfigMap,
    r.SECRETS: Secret,
    r.SERVICEACCOUNTS: ServiceAccount,
    r.EVENTS: Event,
    r.EVENTS_V1: EventV1,
    r.SERVICES: Service,
    r.ENDPOINTS: Endpoints,
    r.DEPLOYMENTS: Deployment,
    r.REPLICASETS: ReplicaSet,
    r.CONTROLLERREVISIONS: ControllerRevision,
    r.LEASES: Lease,
    r.RUNTIMECLASSES: RuntimeClass,
    **GROUPS,
}
"""A kind that is not here is as ``Kind`` describes."""

KINDS: dict[Resource, Kind] = {one: SPECIAL.get(one, Kind)(one) for one in r.RESOURCES}

_by_path = {(kind.resource.group, kind.resource.version, kind.resource.plural): kind for kind in KINDS.values()}


def lookup(group: str, version: str, plural: str) -> Kind | None:
    """The kind served under ``/apis/group/version/plural`` (group "" for ``/api``), or None."""
    return _by_path.get((group, version, plural))
