"""A policy's expressions, and its variables: computed when an expression first asks for one, once per evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kontinuum.api.kubernetes.expressions import VARIABLES, environment, problem_of, with_variables
from kontinuum.api.machinery.cel import (
    Budget,
    BudgetExceeded,
    CompileError,
    Environment,
    EvaluationError,
    EvaluationFailed,
    Program,
)
from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.values import Record
from kontinuum.api.machinery.objects import Object

VARIABLES_TYPE = t.Type("object", "kubernetes.variables")


@dataclass(frozen=True, slots=True)
class Expression:
    """``program`` is None if it does not compile, for the reason ``problem``: rules may have been stricter before."""

    source: str
    program: Program | None
    problem: str = ""

    def evaluate(self, values: Mapping[str, Any], budget: Budget) -> Any:
        """Raises EvaluationError with the words that a refusal shows, BudgetExceeded."""
        if self.program is None:
            raise EvaluationError(f"compilation error: {self.problem}")
        try:
            return self.program.evaluate(values, budget)
        except BudgetExceeded:
            raise
        except EvaluationFailed as error:
            raise EvaluationError(f"expression '{self.source}' resulted in error: {error}") from error


def compile_expression(source: str, within: Environment, *results: t.Type) -> Expression:
    try:
        return Expression(source, within.compile(source, *results))
    except CompileError as error:
        return Expression(source, None, problem_of(error))


class Composition:
    """What the expressions of one policy may use, with the policy's variables."""

    def __init__(self, spec: Object) -> None:
        self.has_params = spec.get("paramKind") is not None
        self._types: dict[str, t.Type] = {}
        self._variables: dict[str, Expression] = {}
        for variable in spec.get("variables") or ():
            made = compile_expression(variable.get("expression", ""), self.environment())
            self._variables[variable["name"]] = made
            self._types[variable["name"]] = made.program.type if made.program is not None else t.DYN

    def environment(self, *, has_authorizer: bool = True, has_patches: bool = False) -> Environment:
        bare = environment(has_params=self.has_params, has_authorizer=has_authorizer, has_patches=has_patches)
        return with_variables(bare, self._types)

    def bare(self) -> Environment:
        """Without the variables."""
        return environment(has_params=self.has_params)

    def begin(self, values: Mapping[str, Any], budget: Budget) -> dict[str, Any]:
        """``values`` with the variables, which pay from ``budget`` when they are computed."""
        made = dict(values)
        if self._variables:
            made[VARIABLES] = Variables(self._variables, made, budget)
        return made


class Variables(Record):
    """The value of ``variables``."""

    __slots__ = ("_budget", "_expressions", "_found", "_values")

    def __init__(self, expressions: Mapping[str, Expression], values: Mapping[str, Any], budget: Budget) -> None:
        self._expressions = expressions
        self._values = values
        self._budget = budget
        self._found: dict[str, Any] = {}

    @property
    def type(self) -> t.Type:
        return VARIABLES_TYPE

    def has(self, name: str) -> bool:
        return name in self._expressions

    def select(self, name: str) -> Any:
        if name not in self._found:
            self._found[name] = self._compute(name)
        found = self._found[name]
        if isinstance(found, EvaluationError):
            raise found
        return found

    def _compute(self, name: str) -> Any:
        """An error is a value as well: it is not looked for twice. Raises BudgetExceeded."""
        expression = self._expressions[name]
        if expression.program is None:
            return EvaluationError(f'composited variable "{name}" fails to compile: {expression.problem}')
        try:
            return expression.program.evaluate(self._values, self._budget)
        except BudgetExceeded:
            raise
        except EvaluationFailed as error:
            return EvaluationError(f'composited variable "{name}" fails to evaluate: {error}')


def compile_all(
    documents: Sequence[Object], field: str, within: Environment, *results: t.Type
) -> tuple[Expression | None, ...]:
    """The expressions in ``field`` of each document; None where there is none."""
    return tuple(compile_expression(one[field], within, *results) if one.get(field) else None for one in documents)
