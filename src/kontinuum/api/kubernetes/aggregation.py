"""ClusterRoles that are the sum of others (``aggregationRule``). Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.selectors import from_object


def selects(role: Object, other: Object) -> bool:
    """Whether ``role``'s aggregation rule takes ``other`` in. An aggregated role never takes in itself."""
    labels = other["metadata"].get("labels") or {}
    selectors = (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()
    is_self = other["metadata"]["name"] == role["metadata"]["name"]
    return not is_self and any(from_object(one).matches(labels) for one in selectors)


def aggregated_rules(role: Object, roles: Iterable[Object]) -> list[Object]:
    """The rules that ``role`` should have: each rule once, in the order of the names of the roles it is made of."""
    found: list[Object] = []
    for other in sorted(roles, key=lambda one: str(one["metadata"]["name"])):
        if selects(role, other):
            found += [rule for rule in other.get("rules") or () if rule not in found]
    return found
