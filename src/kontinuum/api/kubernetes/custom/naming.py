"""The conditions of a CustomResourceDefinition: are its names free, is it served, is its group's owner content?

apiextensions-apiserver has a controller for each (``naming``, ``establish``, ``apiapproval``); here it is one function
from the definition and its neighbours to the status that it should have.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kontinuum.api.kubernetes.custom import definition_rules
from kontinuum.api.machinery.conditions import find, set_condition
from kontinuum.api.machinery.objects import Object

ESTABLISHED, NAMES_ACCEPTED, TERMINATING = "Established", "NamesAccepted", "Terminating"
APPROVAL = "KubernetesAPIApprovalPolicyConformant"
APPROVAL_REASONS = {
    "approved": ("True", "ApprovedAnnotation"),
    "bypassed": ("False", "UnapprovedAnnotation"),
    "missing": ("False", "MissingAnnotation"),
    "invalid": ("False", "InvalidAnnotation"),
}
NAMES = (("plural", "PluralConflict"), ("singular", "SingularConflict"), ("shortNames", "ShortNamesConflict"),
         ("kind", "KindConflict"), ("listKind", "ListKindConflict"))  # fmt: skip
OF_KINDS = ("kind", "listKind")


def settle(definition: Object, others: Iterable[Object], *, now: str) -> Object:
    """``definition`` with the status that it should have; itself if it has it already.

    ``others`` are the definitions that exist, of whatever group. ``now`` is an RFC 3339 time.
    """
    status = definition.get("status") or {}
    accepted, conflicts = _accept(definition, others)
    conditions = _conditions(definition, conflicts, now=now)
    if accepted == status.get("acceptedNames") and conditions == (status.get("conditions") or []):
        return definition
    return {**definition, "status": {**status, "acceptedNames": accepted, "conditions": conditions}}


def _accept(definition: Object, others: Iterable[Object]) -> tuple[Object, list[tuple[str, str]]]:
    """The names that are the definition's now, and (reason, message) for each that is another's."""
    wanted, have = definition["spec"]["names"], (definition.get("status") or {}).get("acceptedNames") or {}
    resources, kinds = _taken(definition, others)
    accepted: Object = {"plural": have.get("plural", ""), "kind": have.get("kind", "")}
    conflicts = []
    for name, reason in NAMES:
        taken = kinds if name in OF_KINDS else resources
        clashes = [one for one in _listed(wanted.get(name)) if one not in _listed(have.get(name)) and one in taken]
        chosen = have.get(name) if clashes else wanted.get(name)
        if chosen:
            accepted[name] = chosen
        if clashes:
            conflicts.append((reason, ", ".join(f'"{one}" is already in use' for one in clashes)))
    if wanted.get("categories"):
        accepted["categories"] = wanted["categories"]
    return accepted, conflicts


def _taken(definition: Object, others: Iterable[Object]) -> tuple[set[str], set[str]]:
    """What other definitions of the group are called: resources, kinds."""
    resources: set[str] = set()
    kinds: set[str] = set()
    name = definition["metadata"]["name"]
    for other in others:
        if other["spec"]["group"] != definition["spec"]["group"] or other["metadata"]["name"] == name:
            continue
        accepted = (other.get("status") or {}).get("acceptedNames") or {}
        resources.update((accepted.get("plural", ""), accepted.get("singular", "")), accepted.get("shortNames") or ())
        kinds.update((accepted.get("kind", ""), accepted.get("listKind", "")))
    return resources - {""}, kinds - {""}


def _conditions(definition: Object, conflicts: list[tuple[str, str]], *, now: str) -> list[Object]:
    found = list((definition.get("status") or {}).get("conditions") or ())
    if conflicts:
        # The last name that is looked at speaks for all, as in Kubernetes.
        reason, message = conflicts[-1]
        found = set_condition(found, NAMES_ACCEPTED, "False", now=now, reason=reason, message=message)
    else:
        found = set_condition(
            found, NAMES_ACCEPTED, "True", now=now, reason="NoConflicts", message="no conflicts found"
        )  # fmt: skip
    established = find(found, ESTABLISHED)
    if established is None or established["status"] != "True":
        found = _establish(found, is_accepted=not conflicts, now=now)
    if definition_rules.is_protected(definition["spec"]["group"]):
        state, text = definition_rules.approval_of(definition)
        value, reason = APPROVAL_REASONS[state]
        found = set_condition(found, APPROVAL, value, now=now, reason=reason, message=text)
    return found


def _establish(conditions: list[Object], *, is_accepted: bool, now: str) -> list[Object]:
    """Once established, a definition stays so, whatever becomes of its names."""
    if not is_accepted:
        return set_condition(
            conditions, ESTABLISHED, "False", now=now, reason="NotAccepted", message="not all names are accepted"
        )
    message = "the initial names have been accepted"
    return set_condition(conditions, ESTABLISHED, "True", now=now, reason="InitialNamesAccepted", message=message)


def _listed(value: Any) -> list[str]:
    if not value:
        return []
    return list(value) if isinstance(value, list) else [value]
