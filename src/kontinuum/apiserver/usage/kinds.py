"""NodeMetrics and PodMetrics (metrics.k8s.io/v1beta1): how they are made, shown and described. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kontinuum.api.kubernetes.custom.kind import CustomKind
from kontinuum.api.kubernetes.kinds.kind import Column
from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.usage.samples import Usage
from kontinuum.foundation.clock import rfc3339

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
NODES = Resource(GROUP, VERSION, "NodeMetrics", "nodes", namespaced=False, stored=False)
PODS = Resource(GROUP, VERSION, "PodMetrics", "pods", namespaced=True, stored=False)
NANO = 1_000_000_000
_QUANTITIES = {
    "type": "object",
    "additionalProperties": {"x-kubernetes-int-or-string": True},
    "description": "The usage of cpu and memory in the window. Memory is the working set.",
}
_MOMENT = {
    "timestamp": {"type": "string", "format": "date-time", "description": "The end of the window."},
    "window": {"type": "string", "description": "The length of time over which CPU usage is an average."},
}
_CONTAINERS = {
    "type": "array",
    "description": "The usage of each running container.",
    "items": {"type": "object", "properties": {"name": {"type": "string"}, "usage": _QUANTITIES}},
}
SCHEMAS: dict[Resource, Object] = {
    NODES: {
        "type": "object",
        "description": "NodeMetrics sets resource usage metrics of a node.",
        "properties": {**_MOMENT, "usage": _QUANTITIES},
    },
    PODS: {
        "type": "object",
        "description": "PodMetrics sets resource usage metrics of a pod.",
        "properties": {**_MOMENT, "containers": _CONTAINERS},
    },
}


class Metrics(CustomKind):
    """Described by a schema of ours, since Kubernetes' own server has no such kinds."""

    columns = (
        Column("Name", format="name", description="Name of the node or pod."),
        Column("cpu", format="quantity", description="CPU usage in the window."),
        Column("memory", format="quantity", description="Memory that is in use."),
        Column("Window", format="duration", description="The length of time over which usage is an average."),
    )

    def __init__(self, resource: Resource) -> None:
        super().__init__(resource, {"name": VERSION, "schema": {"openAPIV3Schema": SCHEMAS[resource]}})
        self.columns = Metrics.columns

    def cells(self, obj: Object, now: float) -> list[Any]:
        listed = [one["usage"] for one in obj["containers"]] if "containers" in obj else [obj["usage"]]
        cpu = sum(quantity.parse(one["cpu"]) for one in listed)
        memory = sum(quantity.value(one["memory"]) for one in listed)
        return [obj["metadata"]["name"], f"{round(cpu * NANO)}n", f"{memory // 1024}Ki", obj["window"]]


def node_metrics(node: Object, used: Usage, *, now: float) -> Object:
    return {**_head(NODES, node["metadata"], used, now), "usage": quantities(used)}


def pod_metrics(pod: Object, used: Mapping[str, Usage], *, now: float) -> Object:
    """``used`` has at least one container. The pod's window is that of its newest reading."""
    newest = max(used.values(), key=lambda one: one.time)
    containers = [{"name": name, "usage": quantities(one)} for name, one in sorted(used.items())]
    return {**_head(PODS, pod["metadata"], newest, now), "containers": containers}


def quantities(used: Usage) -> Object:
    """As the metrics-server writes them."""
    return {"cpu": f"{used.cpu}n" if used.cpu else "0", "memory": f"{used.memory // 1024}Ki"}


def _head(resource: Resource, metadata: Object, used: Usage, now: float) -> Object:
    own = {key: metadata[key] for key in ("name", "namespace", "labels") if metadata.get(key)}
    return {
        "kind": resource.kind,
        "apiVersion": resource.api_version,
        "metadata": {**own, "creationTimestamp": rfc3339(now)},
        "timestamp": rfc3339(used.time),
        "window": duration(used.window),
    }


def duration(seconds: float) -> str:
    """As Go writes it, to the millisecond: ``15.02s``, ``1m0.5s``."""
    minutes, rest = divmod(round(seconds * 1000), 60_000)
    return f"{f'{minutes}m' if minutes else ''}{rest / 1000:g}s"
