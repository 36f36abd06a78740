"""What webhooks are counted by, under the names that a Kubernetes API server uses (its ``admission/metrics``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kontinuum.foundation.telemetry import Tally

if TYPE_CHECKING:
    from prometheus_client import Metric

PREFIX = "apiserver_admission_"
EDGES = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0)
"""Seconds; a webhook may take thirty."""
ERROR_CALLING = "calling_webhook_error"
ERROR_OURS = "apiserver_internal_error"
ERROR_NONE = "no_error"
"""The webhook has refused."""
LARGEST_CODE = 600
"""Webhooks choose their codes freely; larger ones are counted as this."""

Labels = tuple[str, ...]
COUNTERS: dict[str, tuple[str, Labels]] = {
    "webhook_request_total": ("Calls of webhooks.", ("name", "type", "operation", "code", "rejected")),
    "webhook_rejection_count": (
        "Requests refused because of webhooks.", ("name", "type", "operation", "error_type", "rejection_code"),
    ),
    "webhook_fail_open_count": ("Webhooks that could not be asked and did not matter.", ("name", "type")),
    "match_condition_evaluation_errors_total": (
        "Match conditions without a value.", ("name", "kind", "type", "operation"),
    ),
    "match_condition_exclusions_total": (
        "Requests that match conditions kept from a webhook or policy.", ("name", "kind", "type", "operation"),
    ),
}  # fmt: skip


class Measures:
    """Fed by admission, read by ``/metrics``."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[Labels]] = {name: Counter() for name in COUNTERS}
        self._durations: dict[Labels, Tally] = {}

    def asked(self, name: str, type_: str, operation: str, is_rejected: bool, code: int, seconds: float) -> None:
        """``code`` is 200 unless the webhook has refused, or could not be asked; 0 if it was our own fault."""
        rejected = str(is_rejected).lower()
        code_text = str(min(code, LARGEST_CODE))
        self._counts["webhook_request_total"][name, type_, operation, code_text, rejected] += 1
        tally = self._durations.setdefault((name, type_, operation, rejected), Tally(EDGES))
        tally.observe(seconds)

    def rejected(self, name: str, type_: str, operation: str, error: str, code: int) -> None:
        code_text = str(min(code, LARGEST_CODE))
        self._counts["webhook_rejection_count"][name, type_, operation, error, code_text] += 1

    def failed_open(self, name: str, type_: str) -> None:
        self._counts["webhook_fail_open_count"][name, type_] += 1

    def condition_failed(self, name: str, type_: str, operation: str, *, kind: str = "webhook") -> None:
        self._counts["match_condition_evaluation_errors_total"][name, kind, type_, operation] += 1

    def excluded(self, name: str, type_: str, operation: str, *, kind: str = "webhook") -> None:
        self._counts["match_condition_exclusions_total"][name, kind, type_, operation] += 1

    def families(self) -> Iterator[Metric]:
        """What there is to know; nothing of what has never happened."""
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, UnknownMetricFamily

        for name, (text, labels) in COUNTERS.items():
            # A counter would be shown with "_total", under which nobody looks for the older ones.
            family = CounterMetricFamily if name.endswith("_total") else UnknownMetricFamily
            counter = family(PREFIX + name, text, labels=labels)
            for values, number in self._counts[name].items():
                counter.add_metric(values, number)
            yield counter
        durations = HistogramMetricFamily(
            f"{PREFIX}webhook_admission_duration_seconds",
            "Time that webhooks took.",
            labels=("name", "type", "operation", "rejected"),
        )
        for values, tally in self._durations.items():
            durations.add_metric(values, tally.cumulative(), tally.total)
        yield durations
