"""What can go wrong with an expression, by what the caller should do.

CelError
├── CompileError          the expression is wrong whatever the data: refuse the object that carries it
└── EvaluationFailed      this evaluation has no value
    ├── EvaluationError   the data do not fit (no such key ...): a failed rule; ``||`` and ``&&`` may absorb it
    └── CostExceeded      it was stopped; nothing absorbs it
        └── BudgetExceeded  the budget that several evaluations share is used up: evaluate no more of them
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kontinuum.foundation.errors import Refused

RECURSION = "expression recursion limit exceeded: 250"
CALL_COST = "operation cancelled: actual cost limit exceeded"
BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"


class CelError(Refused):
    """Something about an expression."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One complaint. ``position`` counts characters from the beginning of the source."""

    position: int
    message: str

    def render(self, source: str) -> str:
        """As cel-go prints it: the place, the message, the line, and a mark under the character."""
        before = source[: self.position]
        line = before.count("\n") + 1
        column = self.position - (before.rfind("\n") + 1)
        text = source.split("\n")[line - 1].replace("\t", " ")
        return f"ERROR: <input>:{line}:{column + 1}: {self.message}\n | {text}\n | {'.' * column}^"


class CompileError(CelError):
    """``str()`` is what Kubernetes puts behind "compilation failed: "; ``issues`` is empty for a wrong result type."""

    def __init__(self, source: str, issues: Sequence[Issue], message: str = "") -> None:
        self.source = source
        self.issues = tuple(sorted(issues, key=lambda one: one.position))
        super().__init__(message or "\n".join(one.render(source) for one in self.issues))


class EvaluationFailed(CelError):
    """See the module."""


class EvaluationError(EvaluationFailed):
    """See the module."""


class CostExceeded(EvaluationFailed):
    """See the module."""

    def __init__(self, message: str = CALL_COST) -> None:
        super().__init__(message)


class BudgetExceeded(CostExceeded):
    """See the module."""

    def __init__(self, message: str = BUDGET) -> None:
        super().__init__(message)


def no_such_overload() -> EvaluationError:
    return EvaluationError("no such overload")


def no_such_key(key: object) -> EvaluationError:
    return EvaluationError(f"no such key: {key}")
