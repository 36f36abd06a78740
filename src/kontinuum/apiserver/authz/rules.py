"""One role's rules, compiled for questions: a few look-ups in a table instead of a walk over all rules. Pure.

The meaning is that of Kubernetes' ``rbac.RuleAllows``: within a rule verb, group, resource and name must all match;
``*`` matches everything; ``*/scale`` the subresource ``scale`` of every resource; no resourceNames every name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.authz.authorizer import Attributes

ALL = "*"


class _Grant(NamedTuple):
    verbs: frozenset[str]
    names: frozenset[str] | None
    """None: every name."""

    def allows(self, verb: str, name: str) -> bool:
        if verb not in self.verbs and ALL not in self.verbs:
            return False
        return self.names is None or name in self.names


class Question(NamedTuple):
    """A question prepared once, to be put to many roles."""

    verb: str
    name: str
    path: str
    keys: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, attributes: Attributes) -> Question:
        if not attributes.is_resource:
            return cls(attributes.verb, "", attributes.path, ())
        group, resource, subresource = attributes.group, attributes.resource, attributes.subresource
        if not subresource:
            keys: tuple[tuple[str, str], ...] = ((group, resource), (group, ALL), (ALL, resource), (ALL, ALL))
        else:
            combined, every = f"{resource}/{subresource}", f"*/{subresource}"
            keys = (
                (group, combined), (group, ALL), (ALL, combined), (ALL, ALL), (group, every), (ALL, every),
            )  # fmt: skip
        return cls(attributes.verb, attributes.name, "", keys)


class RoleRules:
    """The rules of one Role or ClusterRole."""

    __slots__ = ("_grants", "_paths", "rules")

    def __init__(self, rules: Iterable[Object]) -> None:
        self.rules = list(rules)
        self._grants: dict[tuple[str, str], list[_Grant]] = {}
        self._paths: list[tuple[frozenset[str], tuple[str, ...]]] = []
        for rule in self.rules:
            verbs = frozenset(rule.get("verbs") or ())
            names = frozenset(rule.get("resourceNames") or ()) or None
            grant = _Grant(verbs, names)
            for group in rule.get("apiGroups") or ():
                for resource in rule.get("resources") or ():
                    self._grants.setdefault((group, resource), []).append(grant)
            if rule.get("nonResourceURLs"):
                self._paths.append((verbs, tuple(rule["nonResourceURLs"])))

    def allow(self, question: Question) -> bool:
        if question.path:
            return self._allows_path(question.verb, question.path)
        grants = self._grants
        for key in question.keys:
            for grant in grants.get(key, ()):
                if grant.allows(question.verb, question.name):
                    return True
        return False

    def heeds_name(self, question: Question) -> bool:
        """Whether the answer to the question may be another for an object of another name."""
        return any(grant.names is not None for key in question.keys for grant in self._grants.get(key, ()))

    def _allows_path(self, verb: str, path: str) -> bool:
        return any(
            (verb in verbs or ALL in verbs) and any(path_matches(pattern, path) for pattern in patterns)
            for verbs, patterns in self._paths
        )


def path_matches(pattern: str, path: str) -> bool:
    """``/healthz``, or ``/healthz/*`` for everything below it."""
    if pattern in (ALL, path):
        return True
    return pattern.endswith("*") and path.startswith(pattern.rstrip("*"))
