"""Metrics, read from whoever serves them: metrics.k8s.io, custom.metrics.k8s.io and external.metrics.k8s.io.

Each is an API of its own beside the API server's, so each may be absent; then, and when it has nothing to say,
``Unknown`` is raised in the words of Kubernetes' metrics client.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object, name_of, namespace_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.rest import Client
from kontinuum.controllers.lib.scaling_ratio import Sample, Unknown
from kontinuum.foundation.clock import parse_rfc3339

RESOURCE = "/apis/metrics.k8s.io/v1beta1"
CUSTOM = ("/apis/custom.metrics.k8s.io/v1beta2", "/apis/custom.metrics.k8s.io/v1beta1")
EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1"
WINDOW = 60.0
"""Seconds that a custom metric covers if it does not say."""
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


class Metrics:
    """What is measured now. Amounts are thousandths."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def of_resource(
        self, namespace: str, selector: str, resource: str, container: str = ""
    ) -> dict[str, Sample]:  # fmt: skip
        """What each pod, or its ``container``, uses of ``resource``. Raises Unknown."""
        path = f"{RESOURCE}/namespaces/{namespace}/pods"
        items = await self._items("resource", path, {"labelSelector": selector})
        found = {name_of(pod): _usage(pod, resource, container) for pod in items}
        return {name: sample for name, sample in found.items() if sample is not None}

    async def of_pods(self, namespace: str, selector: str, metric: str, metric_selector: str) -> dict[str, Sample]:
        """A custom metric of each pod. Raises Unknown."""
        query = {"labelSelector": selector, "metricLabelSelector": metric_selector}
        items = await self._custom(f"/namespaces/{namespace}/pods/*/{metric}", query)
        return {one["describedObject"]["name"]: _sample(one) for one in items}

    async def of_object(
        self, namespace: str, resource: Resource, name: str, metric: str, metric_selector: str
    ) -> int:  # fmt: skip
        """A custom metric of one object. Raises Unknown."""
        if resource.kind == "Namespace" and not resource.group:
            path = f"/namespaces/{name}/metrics/{metric}"
        else:
            scope = f"/namespaces/{namespace}" if resource.namespaced else ""
            path = f"{scope}/{resource.qualified}/{name}/{metric}"
        items = await self._custom(path, {"metricLabelSelector": metric_selector})
        return quantity.milli(items[0]["value"])

    async def from_outside(self, namespace: str, metric: str, metric_selector: str) -> int:
        """The sum of an external metric's values. Raises Unknown."""
        path = f"{EXTERNAL}/namespaces/{namespace}/{metric}"
        items = await self._items("external", path, {"labelSelector": metric_selector})
        return sum(quantity.milli(one["value"]) for one in items)

    async def _custom(self, path: str, query: Mapping[str, str]) -> list[Object]:
        """Older adapters serve the older version only."""
        try:
            answer = await self._get(CUSTOM[0] + path, query)
        except ApiError as newest:
            if not newest.is_not_found:
                raise _unreadable("custom", newest) from newest
            try:
                answer = await self._get(CUSTOM[1] + path, query)
            except ApiError:
                raise _unreadable("custom", newest) from newest
        return _some("custom", answer)

    async def _items(self, api: str, path: str, query: Mapping[str, str]) -> list[Object]:
        try:
            return _some(api, await self._get(path, query))
        except ApiError as error:
            raise _unreadable(api, error) from error

    async def _get(self, path: str, query: Mapping[str, str]) -> Object:
        return await self._client.get_path(path, {key: text for key, text in query.items() if text})


def _some(api: str, answer: Object) -> list[Object]:
    """At least one. Raises Unknown."""
    items: list[Object] = answer.get("items") or []
    if not items:
        raise Unknown(f"no metrics returned from {api} metrics API")
    return items


def _unreadable(api: str, error: ApiError) -> Unknown:
    return Unknown(f"unable to fetch metrics from {api} metrics API: {error.message}")


def _usage(pod: Object, resource: str, container: str) -> Sample | None:
    """None if the pod's usage is not all known. Raises Unknown."""
    containers = pod.get("containers") or []
    if container:
        containers = [one for one in containers if one["name"] == container]
        if not containers:
            where = f"{namespace_of(pod)}/{name_of(pod)}"
            raise Unknown(f"container {container} not present in metrics for pod {where}")
    amounts = [one["usage"][resource] for one in containers if resource in (one.get("usage") or {})]
    if not amounts or len(amounts) < len(containers):
        return None
    total = sum(quantity.milli(one) for one in amounts)
    return Sample(total, parse_rfc3339(pod["timestamp"]), seconds(pod["window"]))


def _sample(metric: Object) -> Sample:
    window = metric.get("windowSeconds")
    return Sample(
        quantity.milli(metric["value"]), parse_rfc3339(metric["timestamp"]), WINDOW if window is None else window
    )


def seconds(duration: str) -> float:
    """A Go duration, ``1m0.5s``."""
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)(h|ms|us|µs|ns|m|s)", duration))
