"""Nobody hands out rights that they do not have themselves (the escalation rule of role-based access control).

A role may be written, and a binding to a role made, by who

- is a member of system:masters, or
- may ``escalate`` the role, respectively ``bind`` it, or
- holds every right that the role contains, in the namespace that it is about.

Kubernetes looks at this after everything that changes the object, and before it is validated; so it is the last of
those that admit.
"""

from __future__ import annotations

from typing import Protocol

import orjson

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.machinery import status
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.admission.chain import Attributes, Base, Reader
from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.authz import authorizer as authz
from kontinuum.apiserver.authz.coverage import describe, missing

ROLES = (r.CLUSTERROLES, r.ROLES)
BINDINGS = (r.CLUSTERROLEBINDINGS, r.ROLEBINDINGS)
EVERYTHING: list[Object] = [
    {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
    {"nonResourceURLs": ["*"], "verbs": ["*"]},
]


class RuleResolver(Protocol):
    """What role-based rules say, whoever decides."""

    def held(self, user: User, namespace: str) -> tuple[list[Object], str]: ...

    def role_rules(self, kind: str, namespace: str, name: str) -> list[Object] | None: ...


class Escalation(Base):
    """See the module."""

    concerns = frozenset({*ROLES, *BINDINGS})

    def __init__(self, authorizer: authz.Authorizer, resolver: RuleResolver) -> None:
        self._authorizer = authorizer
        self._resolver = resolver

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        if attributes.operation not in ("CREATE", "UPDATE"):
            return
        if authz.MASTERS in attributes.user.groups or _is_for_collection_only(attributes.obj, attributes.old):
            return
        if attributes.resource in ROLES:
            self._check_role(attributes)
        else:
            self._check_binding(attributes)

    def _check_role(self, asked: Attributes) -> None:
        obj, old = asked.obj or {}, asked.old or {}
        if self._may(asked, "escalate", asked.resource.plural, asked.name if asked.old else ""):
            return
        self._confirm_held(asked, obj.get("rules") or [])
        if obj.get("aggregationRule") or old.get("aggregationRule"):
            # It can gather anything, and keep others from taking it away.
            held, _ = self._resolver.held(asked.user, "")
            if missing(held, EVERYTHING):
                problem = "must have cluster-admin privileges to use an aggregationRule"
                raise status.forbidden(asked.resource, asked.name, problem)

    def _check_binding(self, asked: Attributes) -> None:
        reference = (asked.obj or {}).get("roleRef") or {}
        kind, name = reference.get("kind") or "", reference.get("name") or ""
        plurals = {"ClusterRole": "clusterroles", "Role": "roles"}
        if kind not in plurals:
            return  # Validation says what is wrong with it.
        if self._may(asked, "bind", plurals[kind], name):
            return
        rules = self._resolver.role_rules(kind, asked.namespace, name)
        if rules is None:
            group = r.ROLES.group
            details = {"name": name, "group": group, "kind": kind.lower()}
            raise status.ApiError(404, "NotFound", f'{kind.lower()}.{group} "{name}" not found', details)
        self._confirm_held(asked, rules)

    def _may(self, asked: Attributes, verb: str, resource: str, name: str) -> bool:
        group = r.ROLES.group
        question = authz.Attributes(asked.user, verb, group, resource, "", asked.namespace, name, "*")
        return self._authorizer.decide(question).allowed

    def _confirm_held(self, asked: Attributes, rules: list[Object]) -> None:
        held, unresolved = self._resolver.held(asked.user, asked.namespace)
        lacking = sorted({describe(rule) for rule in missing(held, rules)})
        if not lacking:
            return
        user = asked.user
        groups = " ".join(orjson.dumps(group).decode() for group in user.groups)
        problem = (
            f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n'
            + "\n".join(lacking)
        )
        if unresolved:
            problem += f"; resolution errors: [{unresolved}]"
        raise status.forbidden(asked.resource, asked.name, problem)


def _is_for_collection_only(obj: Object | None, old: Object | None) -> bool:
    """Whether only finalizers and owners change, which the garbage collector must be able to do to every object."""
    if obj is None or old is None:
        return False
    return _without_ownership(obj) == _without_ownership(old)


def _without_ownership(obj: Object) -> Object:
    ignored = ("finalizers", "ownerReferences", "managedFields", "resourceVersion")
    metadata = {key: value for key, value in obj["metadata"].items() if key not in ignored and value}
    return {**{key: value for key, value in obj.items() if value}, "metadata": metadata}
