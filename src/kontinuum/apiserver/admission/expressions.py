"""The values of admission's variables (``api.kubernetes.expressions`` declares them) for one request; conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kontinuum.api.kubernetes.expressions import environment, problem_of
from kontinuum.api.kubernetes.resources import NAMESPACES
from kontinuum.api.machinery.cel import Budget, BudgetExceeded, CompileError, Environment, EvaluationFailed, Program
from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.library import authorizers as lib
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.admission.chain import Attributes, kind_of
from kontinuum.apiserver.admission.matching import Match
from kontinuum.apiserver.authn.users import User, authenticated, to_user_info
from kontinuum.apiserver.authz import authorizer as authz

MATCH_CONDITIONS_BUDGET = 2_500_000
"""What the match conditions of one webhook or policy may cost together."""

__all__ = ["Condition", "Conditions", "environment", "request_of", "values_of"]


def request_of(attributes: Attributes, match: Match) -> Object:
    """The AdmissionRequest without uid and objects: for expressions, and for webhooks to complete."""
    own, matched = kind_of(attributes.resource), match.resource
    requested = attributes.resource
    found: Object = {
        "kind": match.kind._asdict(),
        "resource": {"group": matched.group, "version": matched.version, "resource": matched.plural},
        "requestKind": attributes.kind._asdict(),
        "requestResource": {"group": own.group, "version": own.version, "resource": requested.plural},
        "operation": attributes.operation,
        "userInfo": to_user_info(attributes.user),
        "dryRun": attributes.dry_run,
        "options": attributes.options,
        "name": attributes.name,
        "namespace": attributes.name if requested == NAMESPACES else attributes.namespace,
    }
    if attributes.subresource:
        found["subResource"] = found["requestSubResource"] = attributes.subresource
    return {key: value for key, value in found.items() if value not in (None, "")}


def values_of(
    attributes: Attributes, match: Match, namespace: Object | None, authorizer: authz.Authorizer
) -> dict[str, Any]:
    """The variables' values. ``attributes`` holds its objects in the version of ``match``."""
    asking = lib.Authorizer(_asker(authorizer, attributes.user))
    resource = attributes.resource
    requested = lib.Question(
        group=resource.group,
        resource=resource.plural,
        subresource=attributes.subresource,
        namespace=attributes.namespace,
        name=attributes.name,
    )
    return {
        "object": attributes.obj,
        "oldObject": attributes.old,
        "request": request_of(attributes, match),
        "namespaceObject": namespace if attributes.namespace or resource == NAMESPACES else None,
        "authorizer": asking,
        "authorizer.requestResource": lib.ResourceCheck(asking.ask, requested),
    }


def _asker(authorizer: authz.Authorizer, user: User) -> lib.Ask:
    def ask(question: lib.Question) -> lib.Answer:
        who = user
        if question.service_account is not None:
            namespace, name = question.service_account
            groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
            who = authenticated(f"system:serviceaccount:{namespace}:{name}", groups)
        asked = authz.Attributes(
            who, question.verb, question.group, question.resource, question.subresource, question.namespace,
            question.name, "*" if question.resource else "", question.path,
            field_selector=question.field_selector, label_selector=question.label_selector,
        )  # fmt: skip
        decision = authorizer.decide(asked)
        return lib.Answer(decision.allowed, decision.reason, decision.problem)

    return ask


@dataclass(frozen=True, slots=True)
class Condition:
    """A named match condition; ``problem`` is set if it does not compile."""

    name: str
    program: Program | None
    problem: str = ""


class Conditions:
    """The match conditions of one webhook or policy."""

    def __init__(self, documents: Sequence[Mapping[str, Any]] | None, within: Environment) -> None:
        self._conditions = [_condition(one, within) for one in documents or ()]
        self.is_empty = not self._conditions

    def judge(self, values: Mapping[str, Any], budget: Budget | None = None) -> tuple[bool, list[str]]:
        """Whether all are true, and what went wrong on the way. One that is false decides, whatever the others do."""
        problems: list[str] = []
        budget = budget or Budget(MATCH_CONDITIONS_BUDGET)
        for one in self._conditions:
            if one.program is None:
                problems.append(one.problem)
                continue
            try:
                if one.program.evaluate(values, budget) is not True:
                    return False, []
            except BudgetExceeded as error:
                return False, [str(error)]
            except EvaluationFailed as error:
                problems.append(f"expression '{one.program.source}' resulted in error: {error}")
        return not problems, problems


def _condition(document: Mapping[str, Any], within: Environment) -> Condition:
    name, source = document.get("name") or "", document.get("expression") or ""
    try:
        return Condition(name, within.compile(source, t.BOOL))
    except CompileError as error:
        return Condition(name, None, f"compilation error: {problem_of(error)}")
