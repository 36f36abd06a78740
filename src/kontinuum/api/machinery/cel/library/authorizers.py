"""Kubernetes' authorizer library: ``authorizer.group("apps").resource("deployments").check("create").allowed()``.

The answer comes from whoever puts the ``authorizer`` variable into an evaluation, as a function of ``Question``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.errors import EvaluationError
from kontinuum.api.machinery.cel.overloads import member
from kontinuum.api.machinery.cel.values import Opaque

AUTHORIZER = t.opaque("kubernetes.authorization.Authorizer")
PATH_CHECK = t.opaque("kubernetes.authorization.PathCheck")
GROUP_CHECK = t.opaque("kubernetes.authorization.GroupCheck")
RESOURCE_CHECK = t.opaque("kubernetes.authorization.ResourceCheck")
DECISION = t.opaque("kubernetes.authorization.Decision")
CHECK_COST = 350_000
"""Leaves room for two checks in an expression."""


@dataclass(frozen=True, slots=True)
class Question:
    """May the user (or ``service_account``, as namespace and name) do this? ``path`` is set for non-resource URLs."""

    verb: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    service_account: tuple[str, str] | None = None
    label_selector: str = ""
    field_selector: str = ""


class Answer(NamedTuple):
    allowed: bool
    reason: str = ""
    error: str = ""


Ask = Callable[[Question], Answer]


class Authorizer(Opaque):
    """The ``authorizer`` variable."""

    __slots__ = ("ask", "question")
    type_name = "kubernetes.authorization.Authorizer"

    def __init__(self, ask: Ask, question: Question | None = None) -> None:
        self.ask = ask
        self.question = question or Question()

    def with_(self, kind: type[Authorizer], **changes: Any) -> Authorizer:
        return kind(self.ask, replace(self.question, **changes))


class PathCheck(Authorizer):
    __slots__ = ()
    type_name = "kubernetes.authorization.PathCheck"


class GroupCheck(Authorizer):
    __slots__ = ()
    type_name = "kubernetes.authorization.GroupCheck"


class ResourceCheck(Authorizer):
    """Also the variable ``authorizer.requestResource``."""

    __slots__ = ()
    type_name = "kubernetes.authorization.ResourceCheck"


class Decision(Opaque):
    __slots__ = ("answer",)
    type_name = "kubernetes.authorization.Decision"

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


def _service_account(one: Authorizer, namespace: str, name: str) -> Authorizer:
    if not namespace or not name:
        raise EvaluationError("Invalid service account name or namespace")
    return one.with_(Authorizer, service_account=(namespace, name))


def _path(one: Authorizer, path: str) -> Authorizer:
    if not path:
        raise EvaluationError("path must not be empty")
    return one.with_(PathCheck, path=path)


def _check(one: Authorizer, verb: str) -> Decision:
    return Decision(one.ask(replace(one.question, verb=verb)))


def _resource(name: str) -> Callable[[Authorizer, str], Authorizer]:
    """A step that says more about the resource."""
    return lambda one, value: one.with_(ResourceCheck, **{name: value})


S = t.STRING
OVERLOADS = (
    member("path", "authorizer_path", (AUTHORIZER, S), PATH_CHECK, _path),
    member("group", "authorizer_group", (AUTHORIZER, S), GROUP_CHECK, lambda a, b: a.with_(GroupCheck, group=b)),
    member("serviceAccount", "authorizer_serviceaccount", (AUTHORIZER, S, S), AUTHORIZER, _service_account),
    member("resource", "groupcheck_resource", (GROUP_CHECK, S), RESOURCE_CHECK, _resource("resource")),
    member("subresource", "resourcecheck_subresource", (RESOURCE_CHECK, S), RESOURCE_CHECK, _resource("subresource")),
    member("namespace", "resourcecheck_namespace", (RESOURCE_CHECK, S), RESOURCE_CHECK, _resource("namespace")),
    member("name", "resourcecheck_name", (RESOURCE_CHECK, S), RESOURCE_CHECK, _resource("name")),
    member(
        "fieldSelector", "authorizer_fieldselector", (RESOURCE_CHECK, S), RESOURCE_CHECK, _resource("field_selector")
    ),
    member(
        "labelSelector", "authorizer_labelselector", (RESOURCE_CHECK, S), RESOURCE_CHECK, _resource("label_selector")
    ),
    member("check", "pathcheck_check", (PATH_CHECK, S), DECISION, _check, CHECK_COST),
    member("check", "resourcecheck_check", (RESOURCE_CHECK, S), DECISION, _check, CHECK_COST),
    member("allowed", "decision_allowed", (DECISION,), t.BOOL, lambda a: a.answer.allowed),
    member("reason", "decision_reason", (DECISION,), S, lambda a: a.answer.reason),
    member("errored", "decision_errored", (DECISION,), t.BOOL, lambda a: bool(a.answer.error)),
    member("error", "decision_error", (DECISION,), S, lambda a: a.answer.error),
)
