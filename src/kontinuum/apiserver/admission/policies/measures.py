"""What policies are counted by, under the names that a Kubernetes API server uses (its ``policy/*/metrics``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kontinuum.api.machinery.cel.errors import BUDGET

if TYPE_CHECKING:
    from prometheus_client import Metric

VALIDATING = ("apiserver_validating_admission_policy_check_total", "Validations that failed, and what came of it.")
MUTATING = ("apiserver_mutating_admission_policy_check_total", "Mutations that were carried out.")
LABELS = ("policy", "policy_binding", "error_type")


class PolicyMeasures:
    """Fed by the policies' plug-ins, read by ``/metrics``."""

    def __init__(self) -> None:
        self._validated: Counter[tuple[str, str, str, str]] = Counter()
        self._mutated: Counter[tuple[str, str, str]] = Counter()

    def validated(self, policy: str, binding: str, action: str, problem: str = "") -> None:
        """``action``: ``deny``, ``warn``, ``audit``, or ``allow`` for a ``problem`` that the policy ignores."""
        self._validated[policy, binding, error_type(problem), action] += 1

    def mutated(self, policy: str, binding: str, problem: str = "") -> None:
        self._mutated[policy, binding, error_type(problem)] += 1

    def families(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily

        validated = CounterMetricFamily(*VALIDATING, labels=(*LABELS, "enforcement_action"))
        for labels, number in self._validated.items():
            validated.add_metric(labels, number)
        mutated = CounterMetricFamily(*MUTATING, labels=LABELS)
        for names, number in self._mutated.items():
            mutated.add_metric(names, number)
        yield from (validated, mutated)


def error_type(problem: str) -> str:
    """``problem`` is why an expression has no value; "" if it has one."""
    if not problem:
        return "no_error"
    if problem.startswith("compilation"):
        return "compile_error"
    return "out_of_budget" if problem.startswith(BUDGET) else "invalid_error"
