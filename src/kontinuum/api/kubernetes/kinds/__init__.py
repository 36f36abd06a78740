"""The served kinds: one file for each family that has something special to say, and one table of all of them."""

from __future__ import annotations

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.kubernetes.deprecations import DEPRECATED
from kontinuum.api.kubernetes.kinds.autoscaling import HorizontalPodAutoscaler, HorizontalPodAutoscalerV1
from kontinuum.api.kubernetes.kinds.batch import CronJob, Job
from kontinuum.api.kubernetes.kinds.claims import PersistentVolume, PersistentVolumeClaim
from kontinuum.api.kubernetes.kinds.configuration import ConfigMap, Secret, ServiceAccount
from kontinuum.api.kubernetes.kinds.events import Event, EventV1
from kontinuum.api.kubernetes.kinds.groups import GROUPS
from kontinuum.api.kubernetes.kinds.kind import Kind
from kontinuum.api.kubernetes.kinds.namespace import Namespace
from kontinuum.api.kubernetes.kinds.node import Node
from kontinuum.api.kubernetes.kinds.pod import Pod
from kontinuum.api.kubernetes.kinds.policy import PodDisruptionBudget
from kontinuum.api.kubernetes.kinds.quotas import LimitRange, ResourceQuota
from kontinuum.api.kubernetes.kinds.service import Endpoints, Service
from kontinuum.api.kubernetes.kinds.sets import ControllerRevision, DaemonSet, StatefulSet
from kontinuum.api.kubernetes.kinds.small import Lease, RuntimeClass
from kontinuum.api.kubernetes.kinds.templates import ComponentStatus, PodTemplate
from kontinuum.api.kubernetes.kinds.workloads import Deployment, ReplicaSet, ReplicationController
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
    r.PERSISTENTVOLUMES: PersistentVolume,
    r.PERSISTENTVOLUMECLAIMS: PersistentVolumeClaim,
    r.LIMITRANGES: LimitRange,
    r.RESOURCEQUOTAS: ResourceQuota,
    r.PODTEMPLATES: PodTemplate,
    r.COMPONENTSTATUSES: ComponentStatus,
    r.REPLICASETS: ReplicaSet,
    r.REPLICATIONCONTROLLERS: ReplicationController,
    r.DAEMONSETS: DaemonSet,
    r.STATEFULSETS: StatefulSet,
    r.JOBS: Job,
    r.CRONJOBS: CronJob,
    r.HORIZONTALPODAUTOSCALERS: HorizontalPodAutoscaler,
    r.HORIZONTALPODAUTOSCALERS_V1: HorizontalPodAutoscalerV1,
    r.PODDISRUPTIONBUDGETS: PodDisruptionBudget,
    r.CONTROLLERREVISIONS: ControllerRevision,
    r.LEASES: Lease,
    r.RUNTIMECLASSES: RuntimeClass,
    **GROUPS,
}
"""A kind that is not here is as ``Kind`` describes."""

KINDS: dict[Resource, Kind] = {one: SPECIAL.get(one, Kind)(one) for one in r.RESOURCES}
for _resource, _text in DEPRECATED.items():
    KINDS[_resource].deprecation = _text

_by_path = {(kind.resource.group, kind.resource.version, kind.resource.plural): kind for kind in KINDS.values()}


def lookup(group: str, version: str, plural: str) -> Kind | None:
    """The kind served under ``/apis/group/version/plural`` (group "" for ``/api``), or None."""
    return _by_path.get((group, version, plural))
