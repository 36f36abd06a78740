"""Role-based access control: whoever a binding binds to a role may do what one of the role's rules says."""

from __future__ import annotations

from collections.abc import Iterable

from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.authz.authorizer import Attributes, Decision, Opinion, Rules
from kontinuum.apiserver.authz.index import Bound, Caches, Index
from kontinuum.apiserver.authz.rules import Question

Sort = tuple[str, tuple[str, ...], str, str, str, str, str, str]
MOST_ALLOWED = 4096


class Rbac:
    """Answers from the caches' Roles, ClusterRoles and their bindings."""

    def __init__(self, caches: Caches) -> None:
        self._index = Index(caches)
        self._allowed: dict[Sort, Decision] = {}
        """What was allowed whatever the object's name, until a rule or binding changes: a program asks for the same
        thing about one object after the other."""

    def decide(self, attributes: Attributes) -> Decision:
        index = self._current()
        sort = _sort_of(attributes)
        known = self._allowed.get(sort)
        if known is not None:
            return known
        question = Question.of(attributes)
        missing: list[Bound] = []
        is_same_for_all = True
        for bound in index.bound(attributes.user, attributes.namespace if attributes.is_resource else ""):
            role = index.role(bound.role)
            if role is None:
                missing.append(bound)
                continue
            is_same_for_all = is_same_for_all and not role.heeds_name(question)
            if role.allow(question):
                decision = Decision(Opinion.ALLOW, bound.reason)
                if is_same_for_all:
                    if len(self._allowed) >= MOST_ALLOWED:
                        self._allowed.clear()
                    self._allowed[sort] = decision
                return decision
        if missing:
            problem = _problem(missing)
            return Decision(Opinion.NONE, f"RBAC: {problem}", problem)
        return Decision(Opinion.NONE)

    def held(self, user: User, namespace: str) -> tuple[list[Object], str]:
        """Every rule that applies to ``user`` in ``namespace``, and which roles could not be found ("" if none)."""
        index = self._current()
        rules: list[Object] = []
        missing: list[Bound] = []
        for bound in index.bound(user, namespace):
            role = index.role(bound.role)
            if role is None:
                missing.append(bound)
            else:
                rules += role.rules
        return rules, _problem(missing) if missing else ""

    def rules(self, user: User, namespace: str) -> Rules:
        held, problem = self.held(user, namespace)
        return Rules(
            [rule for rule in held if rule.get("resources")],
            [rule for rule in held if rule.get("nonResourceURLs")],
            incomplete=False,
            problem=problem,
        )

    def role_rules(self, kind: str, namespace: str, name: str) -> list[Object] | None:
        """The rules that a roleRef of a binding in ``namespace`` names; None if there is no such role."""
        role = self._current().role((namespace if kind == "Role" else "", name))
        return role.rules if role is not None else None

    def _current(self) -> Index:
        """The index as it is now. Whoever lets it take in a change forgets what was allowed before."""
        if self._index.refresh():
            self._allowed.clear()
        return self._index


def _sort_of(asked: Attributes) -> Sort:
    """All that is asked but the object's name."""
    user, path = asked.user, asked.path
    return user.name, user.groups, asked.verb, asked.group, asked.resource, asked.subresource, asked.namespace, path


def _problem(missing: Iterable[Bound]) -> str:
    texts = list(
        dict.fromkeys(f'{one.kind.lower()}.rbac.authorization.k8s.io "{one.role[1]}" not found' for one in missing)
    )
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
