"""What a validating policy says about one request with one parameter.

Decides by its arguments alone, but for what expressions ask of others. It is a coroutine because it may take a second:
between costly expressions other requests get their turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kontinuum.api.machinery.cel import Budget, BudgetExceeded, EvaluationError
from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.admission.expressions import Conditions
from kontinuum.apiserver.admission.policies.composition import (
    Composition,
    Expression,
    compile_all,
    compile_expression,
)

LONGEST_MESSAGE = 5 * 1024
"""Bytes of a computed message; a longer one is not shown."""
COSTLY = 100_000
"""Of an evaluation's cost: some ten milliseconds."""
INVALID = "Invalid"
AUTHORIZERS = ("authorizer", "authorizer.requestResource")


@dataclass(frozen=True, slots=True)
class Validation:
    expression: Expression
    computed: Expression | None
    """The ``messageExpression``."""
    message: str
    reason: str


@dataclass(frozen=True, slots=True)
class Rules:
    """The body of a validating policy."""

    validations: tuple[Validation, ...]
    annotations: tuple[tuple[str, Expression], ...]


@dataclass(frozen=True, slots=True)
class Denial:
    """A validation that does not hold, or (reason "") could not be evaluated."""

    index: int
    message: str
    reason: str


@dataclass(slots=True)
class Outcome:
    denials: list[Denial] = field(default_factory=list)
    annotations: list[tuple[str, str]] = field(default_factory=list)
    """Of the audit event: key without the policy's name, and value."""
    broken_annotations: list[str] = field(default_factory=list)
    """What went wrong with the others."""
    ignored: list[str] = field(default_factory=list)
    """What went wrong and does not matter, because the policy says so."""


def compile_rules(spec: Object, composition: Composition) -> Rules:
    documents: Sequence[Object] = spec.get("validations") or ()
    within = composition.environment()
    # Messages go to whoever asks, so that they must not tell what somebody else may do.
    texts = compile_all(documents, "messageExpression", composition.environment(has_authorizer=False), t.STRING)
    return Rules(
        tuple(
            Validation(
                compile_expression(one["expression"], within, t.BOOL),
                computed,
                one.get("message", "").strip(),
                one.get("reason") or INVALID,
            )
            for one, computed in zip(documents, texts, strict=True)
        ),
        tuple(
            (one["key"], compile_expression(one["valueExpression"].strip(), within, t.STRING, t.NULL))
            for one in spec.get("auditAnnotations") or ()
        ),
    )


async def judge(
    rules: Rules, conditions: Conditions, composition: Composition, values: Mapping[str, Any], *, fails: bool
) -> Outcome:
    """``fails``: an expression without a value is a denial."""
    matches, problems = conditions.judge(values)
    if not matches:
        outcome = Outcome()
        if problems:
            _break(outcome, joined(problems), fails=fails)
        return outcome
    outcome = Outcome()
    # What was found before the budget was used up counts: nobody talks himself out of a refusal by being costly.
    try:
        await _deny(outcome, rules, composition, values, fails=fails)
    except BudgetExceeded as error:
        _break(outcome, str(error), fails=fails)
        return outcome
    try:
        await _annotate(outcome, rules, composition, values, fails=fails)
    except BudgetExceeded as error:
        _break(outcome, str(error), fails=fails)
    return outcome


def joined(problems: Sequence[str]) -> str:
    """Several errors as Kubernetes' aggregates print them."""
    unique = list(dict.fromkeys(problems))
    return unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]"


def _break(outcome: Outcome, problem: str, *, fails: bool) -> None:
    """The policy as a whole could not be evaluated, or not to its end."""
    if fails:
        outcome.denials.append(Denial(0, problem, ""))
    else:
        outcome.ignored.append(problem)


async def give_way(budget: Budget, before: int) -> None:
    """``before`` is what was left of the budget when the last expression began."""
    if before - budget.remaining > COSTLY:
        await asyncio.sleep(0)


async def _deny(
    outcome: Outcome, rules: Rules, composition: Composition, values: Mapping[str, Any], *, fails: bool
) -> None:
    """Raises BudgetExceeded, behind the denials that were found before."""
    budget = Budget()
    within = composition.begin(values, budget)
    found: list[tuple[int, Validation, str]] = []
    exceeded: BudgetExceeded | None = None
    try:
        for index, one in enumerate(rules.validations):
            before = budget.remaining
            try:
                if one.expression.evaluate(within, budget) is not True:
                    found.append((index, one, ""))
            except EvaluationError as error:
                if fails:
                    found.append((index, one, str(error)))
                else:
                    outcome.ignored.append(str(error))
            await give_way(budget, before)
    except BudgetExceeded as error:
        exceeded = error
    # Only now: what is left of the budget is for the messages.
    outcome.denials += await _explained(found, composition, values, budget)
    if exceeded is not None:
        raise exceeded


async def _explained(
    found: Sequence[tuple[int, Validation, str]], composition: Composition, values: Mapping[str, Any], budget: Budget
) -> list[Denial]:
    """``found``: the place of each validation that failed, and why it has no value, if it has none."""
    known = {key: value for key, value in values.items() if key not in AUTHORIZERS}
    within = composition.begin(known, budget)
    denials = []
    for index, one, problem in found:
        before = budget.remaining
        text = problem or _message(one, within, budget)
        denials.append(Denial(index, text, "" if problem else one.reason))
        await give_way(budget, before)
    return denials


def _message(one: Validation, values: Mapping[str, Any], budget: Budget) -> str:
    computed = ""
    if one.computed is not None:
        try:
            value = one.computed.evaluate(values, budget)
            computed = value.strip() if isinstance(value, str) else ""
        except BudgetExceeded as error:
            return f"failed messageExpression: {error}"
        except EvaluationError:
            computed = ""
    if "\n" in computed or len(computed.encode(errors="replace")) > LONGEST_MESSAGE:
        computed = ""
    return computed or one.message or f"failed expression: {one.expression.source.strip()}"


async def _annotate(
    outcome: Outcome, rules: Rules, composition: Composition, values: Mapping[str, Any], *, fails: bool
) -> None:
    """Raises BudgetExceeded."""
    budget = Budget()
    within = composition.begin(values, budget)
    for key, expression in rules.annotations:
        before = budget.remaining
        try:
            value = expression.evaluate(within, budget)
        except EvaluationError as error:
            value = None
            (outcome.broken_annotations if fails else outcome.ignored).append(str(error))
        if isinstance(value, str) and value.strip():
            outcome.annotations.append((key, value.strip()))
        await give_way(budget, before)
