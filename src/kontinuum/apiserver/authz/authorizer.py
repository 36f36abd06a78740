"""The question that every request is, and the simplest of those who answer it.

    AlwaysAllow | Chain(Masters, NodeAuthorizer, Rbac)

The first one that has an opinion decides; if nobody has one, it is not allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.authn.users import User

MASTERS = "system:masters"
"""Members of this group may do everything, whatever the rules say: the way back in after a mistake in the rules."""


class Attributes(Struct):
    """What is asked, in the terms of Kubernetes' ``authorizer.Attributes``."""

    user: User
    verb: str
    """Kubernetes' verb: ``get list watch create update patch delete deletecollection``, one of the special ones
    (``use bind escalate impersonate sign approve attest``); for ``path`` HTTP's method in small letters."""
    group: str = ""
    resource: str = ""
    """The plural; "" for paths that are no resource's."""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    version: str = ""
    path: str = ""
    """``/metrics``, ``/openapi/v3`` ...; only where ``resource`` is ""."""
    field_selector: str = ""
    """What a list, watch or deletecollection is narrowed to, as the client wrote it (KEP-4601)."""
    label_selector: str = ""

    @property
    def is_resource(self) -> bool:
        return not self.path

    @property
    def combined(self) -> str:
        """``pods/exec``, as rules write it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def on_resource(
    user: User, verb: str, resource: Resource, *, subresource: str = "", namespace: str = "", name: str = ""
) -> Attributes:
    """The question about a served resource."""
    return Attributes(user, verb, resource.group, resource.plural, subresource, namespace, name, resource.version)


class Opinion(Enum):
    ALLOW = "allow"
    DENY = "deny"
    """Nobody after this one is asked."""
    NONE = "no opinion"


class Decision(NamedTuple):
    """``reason`` is for people; ``problem`` says what could not be looked up on the way, "" if nothing."""

    opinion: Opinion
    reason: str = ""
    problem: str = ""

    @property
    def allowed(self) -> bool:
        return self.opinion is Opinion.ALLOW


ALLOWED = Decision(Opinion.ALLOW)
NO_OPINION = Decision(Opinion.NONE)


class Rules(NamedTuple):
    """Everything that somebody may do in one namespace, as ``SelfSubjectRulesReview`` tells it."""

    resources: list[dict[str, Any]]
    """PolicyRules with apiGroups, resources, resourceNames and verbs."""
    paths: list[dict[str, Any]]
    """PolicyRules with nonResourceURLs and verbs."""
    incomplete: bool = False
    problem: str = ""


class Authorizer(Protocol):
    """Decides; knows nothing of HTTP, waits for nothing."""

    def decide(self, attributes: Attributes) -> Decision: ...

    def rules(self, user: User, namespace: str) -> Rules:
        """What ``user`` may do in ``namespace``, as far as it can be enumerated."""
        ...


class AlwaysAllow:
    """Whoever has got this far may do everything."""

    def decide(self, attributes: Attributes) -> Decision:
        return ALLOWED

    def rules(self, user: User, namespace: str) -> Rules:
        return everything()


class Masters:
    """See ``MASTERS``."""

    def decide(self, attributes: Attributes) -> Decision:
        return ALLOWED if MASTERS in attributes.user.groups else NO_OPINION

    def rules(self, user: User, namespace: str) -> Rules:
        """None of its own: the default binding ``cluster-admin`` tells of them."""
        return Rules([], [])


class Chain:
    """The first that has an opinion decides."""

    def __init__(self, authorizers: Sequence[Authorizer]) -> None:
        self._authorizers = tuple(authorizers)

    def decide(self, attributes: Attributes) -> Decision:
        reasons: list[str] = []
        problems: list[str] = []
        for authorizer in self._authorizers:
            decision = authorizer.decide(attributes)
            if decision.opinion is not Opinion.NONE:
                return decision
            if decision.reason:
                reasons.append(decision.reason)
            if decision.problem:
                problems.append(decision.problem)
        return Decision(Opinion.NONE, "\n".join(reasons), "\n".join(problems))

    def rules(self, user: User, namespace: str) -> Rules:
        found = [authorizer.rules(user, namespace) for authorizer in self._authorizers]
        return Rules(
            [rule for one in found for rule in one.resources],
            [rule for one in found for rule in one.paths],
            incomplete=any(one.incomplete for one in found),
            problem=", ".join(one.problem for one in found if one.problem),
        )


def everything() -> Rules:
    star = ["*"]
    return Rules([{"verbs": star, "apiGroups": star, "resources": star}], [{"verbs": star, "nonResourceURLs": star}])
