"""Numbers about requests, counted cheaply where they happen and put into Prometheus' words only when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kontinuum.apiserver.audit.audit import Audit
from kontinuum.apiserver.context import Context
from kontinuum.apiserver.fairness.fairness import Fairness
from kontinuum.apiserver.fairness.report import families
from kontinuum.foundation import telemetry
from kontinuum.foundation.telemetry import Tally

if TYPE_CHECKING:
    from prometheus_client import Metric


class RequestMetrics:
    """Fed by the handler, read by ``/metrics``."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str, str, int], int] = {}
        self._latencies: dict[tuple[str, str], Tally] = {}
        self.in_flight = 0

    def count(self, verb: str, resource: str, subresource: str, code: int) -> None:
        key = (verb, resource, subresource, code)
        self._requests[key] = self._requests.get(key, 0) + 1

    def observe(self, verb: str, resource: str, seconds: float) -> None:
        latency = self._latencies.get((verb, resource))
        if latency is None:
            latency = self._latencies[verb, resource] = Tally()
        latency.observe(seconds)

    def families(self) -> Iterator[Metric]:
        """What there is to know, under the names that a Kubernetes API server uses."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        requests = CounterMetricFamily(
            "apiserver_request_total", "Requests answered.", labels=("verb", "resource", "subresource", "code")
        )
        for (verb, resource, subresource, code), number in self._requests.items():
            requests.add_metric((verb, resource, subresource, str(code)), number)
        yield requests
        latencies = HistogramMetricFamily(
            "apiserver_request_duration_seconds", "Time to answer, watches left out.", labels=("verb", "resource")
        )
        for labels, latency in self._latencies.items():
            latencies.add_metric(labels, latency.cumulative(), latency.total)
        yield latencies
        in_flight = GaugeMetricFamily("apiserver_current_inflight_requests", "Requests being answered.")
        in_flight.add_metric((), self.in_flight)
        yield in_flight


class Collector:
    """What ``prometheus_client`` asks: the requests' numbers, and the caches' as they are now."""

    def __init__(self, context: Context, requests: RequestMetrics, fairness: Fairness, audit: Audit | None) -> None:
        self._context = context
        self._requests = requests
        self._fairness = fairness
        self._audit = audit

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        yield from self._requests.families()
        yield from self._context.admission.families()
        yield from families(self._fairness)
        if (uses := self._context.identity.uses) is not None:
            yield from uses.families()
        if self._audit is not None:
            yield from self._audit.families()
        objects = GaugeMetricFamily("apiserver_storage_objects", "Objects stored.", labels=("resource",))
        watchers = GaugeMetricFamily("apiserver_longrunning_requests", "Open watches.", labels=("resource",))
        for served in self._context.served.values():
            if served.resource.stored_as is not None or not served.resource.stored:
                continue
            objects.add_metric((served.resource.qualified,), len(served.cache))
            watchers.add_metric((served.resource.qualified,), len(served.cache.watchers))
        yield objects
        yield watchers
        revision = GaugeMetricFamily("kontinuum_watch_cache_revision", "Store revision that the caches have reached.")
        revision.add_metric((), self._context.feed.applied)
        yield revision


def render(context: Context, requests: RequestMetrics, fairness: Fairness, audit: Audit | None) -> tuple[bytes, str]:
    """The text and its content type: the process's own metrics (``foundation.telemetry``), then the server's."""
    from prometheus_client import CollectorRegistry, generate_latest

    process, media = telemetry.render()
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(context, requests, fairness, audit))
    return process + generate_latest(registry), media
