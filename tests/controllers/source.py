"""A source of metrics, at the level of HTTP: what autoscalers in tests measure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.controllers.cluster import Cluster

from kontinuum.api.machinery.objects import Object, labels_of, name_of
from kontinuum.api.machinery.selectors import parse_labels
from kontinuum.api.machinery.status import no_such_path
from kontinuum.client.transport.port import Request
from kontinuum.foundation.clock import rfc3339


class Source:
    """Serves all three APIs of metrics: ``cpu`` (millicores) for each pod, and ``values`` by path."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.cpu: Callable[[Object], int | None] = lambda pod: 500
        self.values: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        for group in ("metrics.k8s.io", "custom.metrics.k8s.io", "external.metrics.k8s.io"):
            cluster.api.aggregated[f"/apis/{group}/"] = self.answer

    def answer(self, request: Request) -> Object:
        self.asked.append((request.path, dict(request.query)))
        if request.path.startswith("/apis/metrics.k8s.io/v1beta1/namespaces/default/pods"):
            matches = parse_labels(request.query["labelSelector"]).matches
            pods = [pod for pod in self._cluster.ready_pods() if matches(labels_of(pod))]
            return {"items": [one for pod in pods if (one := self._usage(pod)) is not None]}
        if request.path not in self.values:
            raise no_such_path()
        return {"items": [{**one, "timestamp": self._now()} for one in self.values[request.path]]}

    def _usage(self, pod: Object) -> Object | None:
        used = self.cpu(pod)
        if used is None:
            return None
        containers = [{"name": "main", "usage": {"cpu": f"{used}m", "memory": "10Mi"}}]
        metadata = {"name": name_of(pod), "namespace": "default"}
        return {"metadata": metadata, "timestamp": self._now(), "window": "15s", "containers": containers}

    def _now(self) -> str:
        return rfc3339(self._cluster.clock.time())
