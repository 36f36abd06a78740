"""The built-in resources that are served, as facts of discovery. Adding a kind starts with a line here."""

from __future__ import annotations

from kontinuum.api.machinery.resources import Resource

NAMESPACES = Resource(
    group="", version="v1", kind="Namespace", plural="namespaces", namespaced=False, singular="namespace",
    short_names=("ns",), subresources=("finalize", "status"),
)  # fmt: skip
PODS = Resource(
    group="", version="v1", kind="Pod", plural="pods", namespaced=True, singular="pod",
    short_names=("po",), categories=("all",),
    subresources=("attach", "binding", "eviction", "exec", "log", "status"),
)  # fmt: skip
NODES = Resource(
    group="", version="v1", kind="Node", plural="nodes", namespaced=False, singular="node",
    short_names=("no",), subresources=("status",),
)  # fmt: skip
CONFIGMAPS = Resource(
    group="", version="v1", kind="ConfigMap", plural="configmaps", namespaced=True, singular="configmap",
    short_names=("cm",),
)  # fmt: skip
SECRETS = Resource(group="", version="v1", kind="Secret", plural="secrets", namespaced=True, singular="secret")
SERVICEACCOUNTS = Resource(
    group="", version="v1", kind="ServiceAccount", plural="serviceaccounts", namespaced=True,
    singular="serviceaccount", short_names=("sa",),
)  # fmt: skip
EVENTS = Resource(
    group="", version="v1", kind="Event", plural="events", namespaced=True, singular="event", short_names=("ev",),
)  # fmt: skip
SERVICES = Resource(
    group="", version="v1", kind="Service", plural="services", namespaced=True, singular="service",
    short_names=("svc",), categories=("all",), subresources=("status",),
)  # fmt: skip
ENDPOINTS = Resource(
    group="", version="v1", kind="Endpoints", plural="endpoints", namespaced=True, singular="endpoints",
    short_names=("ep",),
)  # fmt: skip
DEPLOYMENTS = Resource(
    group="apps", version="v1", kind="Deployment", plural="deployments", namespaced=True, singular="deployment",
    short_names=("deploy",), categories=("all",), subresources=("scale", "status"),
)  # fmt: skip
REPLICASETS = Resource(
    group="apps", version="v1", kind="ReplicaSet", plural="replicasets", namespaced=True, singular="replicaset",
    short_names=("rs",), categories=("all",), subresources=("scale", "status"),
)  # fmt: skip
CONTROLLERREVISIONS = Resource(
    group="apps", version="v1", kind="ControllerRevision", plural="controllerrevisions", namespaced=True,
    singular="controllerrevision",
)  # fmt: skip
LEASES = Resource(
    group="coordination.k8s.io", version="v1", kind="Lease", plural="leases", namespaced=True, singular="lease",
)  # fmt: skip
RUNTIMECLASSES = Resource(
    group="node.k8s.io", version="v1", kind="RuntimeClass", plural="runtimeclasses", namespaced=False,
    singular="runtimeclass",
)  # fmt: skip

RESOURCES: tuple[Resource, ...] = (
    NAMESPACES, PODS, NODES, CONFIGMAPS, SECRETS, SERVICEACCOUNTS, EVENTS, SERVICES, ENDPOINTS,
    DEPLOYMENTS, REPLICASETS, CONTROLLERREVISIONS, LEASES, RUNTIMECLASSES,
)  # fmt: skip
