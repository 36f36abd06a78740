"""Role-based access control: whoever a binding binds to a role may do what one of the role's rules says."""

from __future__ import annotations

from collections.abc import Iterable

from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.authz.authorizer import Attributes, Decision, Opinion, Rules
from kontinuum.apiserver.authz.index import Bound, Caches, Index
from kontinuum.apiserver.authz.rules import Question


class Rbac:
    """Answers from the caches' Roles, ClusterRoles and their bindings."""

    def __init__(self, caches: Caches) -> None:
        self._index = Index(caches)

    def decide(self, attributes: Attributes) -> Decision:
        index = self._index
        index.refresh()
        question = Question.of(attributes)
        missing: list[Bound] = []
        for bound in index.bound(attributes.user, attributes.namespace if attributes.is_resource else ""):
            role = index.role(bound.role)
            if role is None:
                missing.append(bound)
            elif role.allow(question):
                return Decision(Opinion.ALLOW, bound.reason)
        if missing:
            problem = _problem(missing)
            return Decision(Opinion.NONE, f"RBAC: {problem}", problem)
        return Decision(Opinion.NONE)

    def held(self, user: User, namespace: str) -> tuple[list[Object], str]:
        """Every rule that applies to ``user`` in ``namespace``, and which roles could not be found ("" if none)."""
        index = self._index
        index.refresh()
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
        self._index.refresh()
        role = self._index.role((namespace if kind == "Role" else "", name))
        return role.rules if role is not None else None


def _problem(missing: Iterable[Bound]) -> str:
    texts = list(
        dict.fromkeys(f'{one.kind.lower()}.rbac.authorization.k8s.io "{one.role[1]}" not found' for one in missing)
    )
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
