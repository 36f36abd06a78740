"""The columns of ``kubectl get``, kind by kind, as Kubernetes 1.36 has them (its ``printers/internalversion``).

``Name`` and a type other than text is written ``Name/integer``; what only ``-o wide`` shows has a star.
"""

from __future__ import annotations

import pytest

from kontinuum.api.kubernetes.kinds import KINDS
from kontinuum.api.kubernetes.kinds.kind import Column
from kontinuum.api.machinery.resources import Resource

COLUMNS = {
    "componentstatuses": "Name, Status, Message, Error",
    "configmaps": "Name, Data, Age",
    "endpoints": "Name, Endpoints, Age",
    "events": "Last Seen, Type, Reason, Object, Subobject*, Source*, Message, First Seen*, Count*, Name*",
    "limitranges": "Name, Created At/date",
    "namespaces": "Name, Status, Age",
    "nodes": "Name, Status, Roles, Age, Version, Internal-IP*, External-IP*, OS-Image*, Kernel-Version*, "
    "Container-Runtime*",
    "persistentvolumeclaims": "Name, Status, Volume, Capacity, Access Modes, StorageClass, VolumeAttributesClass, Age, "
    "VolumeMode*",
    "persistentvolumes": "Name, Capacity, Access Modes, Reclaim Policy, Status, Claim, StorageClass, "
    "VolumeAttributesClass, Reason, Age, VolumeMode*",
    "pods": "Name, Ready, Status, Restarts, Age, IP*, Node*, Nominated Node*, Readiness Gates*",
    "podtemplates": "Name, Containers, Images, Pod Labels",
    "replicationcontrollers": "Name, Desired/integer, Current/integer, Ready/integer, Age, Containers*, Images*, "
    "Selector*",
    "resourcequotas": "Name, Request, Limit, Age",
    "secrets": "Name, Type, Data, Age",
    "serviceaccounts": "Name, Secrets, Age",
    "services": "Name, Type, Cluster-IP, External-IP, Port(s), Age, Selector*",
    "mutatingadmissionpolicies": "Name, Mutations/integer, ParamKind, Age",
    "mutatingadmissionpolicybindings": "Name, PolicyName, ParamRef, Age",
    "mutatingwebhookconfigurations": "Name, Webhooks/integer, Age",
    "validatingadmissionpolicies": "Name, Validations/integer, ParamKind, Age",
    "validatingadmissionpolicybindings": "Name, PolicyName, ParamRef, Age",
    "validatingwebhookconfigurations": "Name, Webhooks/integer, Age",
    "customresourcedefinitions": "Name, Created At/date",
    "apiservices": "Name, Service, Available, Age",
    "controllerrevisions": "Name, Controller, Revision, Age",
    "daemonsets": "Name, Desired/integer, Current/integer, Ready/integer, Up-to-date/integer, Available/integer, "
    "Node Selector, Age, Containers*, Images*, Selector*",
    "deployments": "Name, Ready, Up-to-date, Available, Age, Containers*, Images*, Selector*",
    "replicasets": "Name, Desired/integer, Current/integer, Ready/integer, Age, Containers*, Images*, Selector*",
    "statefulsets": "Name, Ready, Age, Containers*, Images*",
    "horizontalpodautoscalers": "Name, Reference, Targets, MinPods, MaxPods, Replicas, Age",
    "cronjobs": "Name, Schedule, Timezone, Suspend/boolean, Active/integer, Last Schedule, Age, Containers*, Images*, "
    "Selector*",
    "jobs": "Name, Status, Completions, Duration, Age, Containers*, Images*, Selector*",
    "certificatesigningrequests": "Name, Age, SignerName, Requestor, RequestedDuration, Condition",
    "leases": "Name, Holder, Age",
    "endpointslices": "Name, AddressType, Ports, Endpoints, Age",
    "flowschemas": "Name, PriorityLevel, MatchingPrecedence, DistinguisherMethod, Age, MissingPL",
    "prioritylevelconfigurations": "Name, Type, NominalConcurrencyShares, Queues, HandSize, QueueLengthLimit, Age",
    "ingressclasses": "Name, Controller, Parameters, Age",
    "ingresses": "Name, Class, Hosts, Address, Ports, Age",
    "ipaddresses": "Name, ParentRef, Age",
    "networkpolicies": "Name, Pod-Selector, Age",
    "servicecidrs": "Name, CIDRs, Age",
    "runtimeclasses": "Name, Handler, Age",
    "poddisruptionbudgets": "Name, Min Available, Max Unavailable, Allowed Disruptions/integer, Age",
    "clusterrolebindings": "Name, Role, Age, Users*, Groups*, ServiceAccounts*",
    "clusterroles": "Name, Created At/date",
    "rolebindings": "Name, Role, Age, Users*, Groups*, ServiceAccounts*",
    "roles": "Name, Created At/date",
    "deviceclasses": "Name, Age",
    "resourceclaims": "Name, State, Age",
    "resourceclaimtemplates": "Name, Age",
    "resourceslices": "Name, Node, Driver, Pool, Age",
    "priorityclasses": "Name, Value/integer, Global-Default/boolean, Age, PreemptionPolicy",
    "csidrivers": "Name, AttachRequired/boolean, PodInfoOnMount/boolean, StorageCapacity/boolean, TokenRequests, "
    "RequiresRepublish/boolean, Modes, Age",
    "csinodes": "Name, Drivers/integer, Age",
    "csistoragecapacities": "Name, StorageClassName, Capacity",
    "storageclasses": "Name, Provisioner, ReclaimPolicy, VolumeBindingMode, AllowVolumeExpansion, Age",
    "volumeattachments": "Name, Attacher, PV, Node, Attached/boolean, Age",
    "volumeattributesclasses": "Name, DriverName, Age",
}


def told(column: Column) -> str:
    kind = f"/{column.type}" if column.type != "string" else ""
    return f"{column.name}{kind}{'*' if column.priority else ''}"


@pytest.mark.parametrize("resource", [each for each in KINDS if each.stored], ids=lambda each: each.qualified)
def test_a_kind_has_kubernetes_columns(resource: Resource) -> None:
    assert ", ".join(told(column) for column in KINDS[resource].columns) == COLUMNS[resource.plural]
    names = [column for column in KINDS[resource].columns if column.format == "name" and column.name == "Name"]
    assert len(names) == 1, "kubectl finds the name of a row by this format"
