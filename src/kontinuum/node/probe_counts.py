"""How often each probe was asked, what it said and how long it took: ``/metrics/probes`` in the kubelet's names."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection
from dataclasses import dataclass, field

from kontinuum.api.machinery.objects import Object, uid_of
from kontinuum.node.usage.exposition import Family, text

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
Key = tuple[str, str, str, str, str]
"""Container, namespace, pod, its UID, kind of probe."""


@dataclass(slots=True)
class _Count:
    results: dict[str, int] = field(default_factory=dict)
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0


class ProbeCounts:
    def __init__(self) -> None:
        self._counts: dict[Key, _Count] = {}

    def count(self, pod: Object, container: str, kind: str, result: str, seconds: float) -> None:
        """One more answer of a ``liveness``, ``readiness`` or ``startup`` probe."""
        meta = pod["metadata"]
        key = (container, meta["namespace"], meta["name"], uid_of(pod), kind.capitalize())
        counted = self._counts.setdefault(key, _Count())
        counted.results[result] = counted.results.get(result, 0) + 1
        counted.buckets[bisect_left(BUCKETS, seconds)] += 1
        counted.seconds += seconds

    def render(self, known: Collection[str]) -> str:
        """Of the pods ``known`` by UID; the others are forgotten."""
        self._counts = {key: one for key, one in self._counts.items() if key[3] in known}
        total = Family("prober_probe_total", "counter", "[BETA] Cumulative number of a probe's results.")
        duration = Family("prober_probe_duration_seconds", "histogram", "[ALPHA] Seconds that a probe took.")
        for (container, namespace, name, uid, kind), one in self._counts.items():
            labels = {"container": container, "namespace": namespace, "pod": name}
            for result, count in one.results.items():
                total.add(count, {**labels, "pod_uid": uid, "probe_type": kind, "result": result})
            labels["probe_type"] = kind
            below = 0
            for bound, count in zip((*BUCKETS, "+Inf"), one.buckets, strict=True):
                below += count
                duration.add(below, {**labels, "le": str(bound)}, suffix="_bucket")
            duration.add(one.seconds, labels, suffix="_sum")
            duration.add(below, labels, suffix="_count")
        return text((total, duration))
