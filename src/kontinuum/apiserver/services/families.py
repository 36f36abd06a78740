"""Which address families a Service gets: what it asks for, held against what the cluster has. Pure.

The order of the questions, and the words, are those of kubernetes ``registry/core/service/storage/alloc.go``.
"""

from __future__ import annotations

from collections.abc import Sequence

from kontinuum.api.kubernetes.defaults.services import needs_address
from kontinuum.api.kubernetes.validation.service_addresses import FAMILIES, family_of, validate_addresses
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

POLICY = "spec.ipFamilyPolicy"
SINGLE, PREFER, REQUIRE = "SingleStack", "PreferDualStack", "RequireDualStack"


def settle_families(spec: Object, old: Object | None, available: Sequence[str]) -> list[FieldError]:
    """Complete ``ipFamilies`` and ``ipFamilyPolicy`` of ``spec``; answers why that cannot be done.

    ``available``: the cluster's families, its own first. ``old`` is the spec before, None for a new Service.
    """
    if spec.get("type") == "ExternalName" or is_settled(spec, old):
        return []
    if spec.get("ipFamilyPolicy") is None:
        spec["ipFamilyPolicy"] = _policy(spec, old)
    wrong = validate_addresses(spec)
    wrong = wrong or _change(spec, old) + _contradictions(spec) + _inferred(spec, available)
    if wrong:
        return wrong
    if _is_free(spec):
        families = spec["ipFamilies"] = spec.get("ipFamilies") or [available[0]]
        if len(families) < 2 and spec["ipFamilyPolicy"] != SINGLE:
            families.append(_other(families[0]))
        return []
    wrong = _unavailable(spec, available)
    if wrong:
        return wrong
    families = spec["ipFamilies"] = spec.get("ipFamilies") or [available[0]]
    if spec["ipFamilyPolicy"] != SINGLE and len(families) == 1 and len(available) == 2:
        families.append(_other(families[0]))
    return []


def is_settled(spec: Object, old: Object | None) -> bool:
    """A Service that prefers two families keeps those it has, whatever the cluster has got meanwhile."""
    if old is None or old.get("type") != spec.get("type") or not needs_address(spec):
        return False
    if spec.get("ipFamilyPolicy") != PREFER or old.get("ipFamilyPolicy") not in (None, PREFER):
        return False
    return _same(spec, old, "clusterIPs") and _same(spec, old, "ipFamilies")


def _policy(spec: Object, old: Object | None) -> str:
    if old is not None and old.get("ipFamilyPolicy") is not None:
        return str(old["ipFamilyPolicy"])
    return REQUIRE if _is_free(spec) else SINGLE


def _is_free(spec: Object) -> bool:
    """Headless and without a selector: whoever makes its endpoints may use any family, also one the cluster lacks."""
    return spec.get("clusterIP") == "None" and not spec.get("selector")


def _change(spec: Object, old: Object | None) -> list[FieldError]:
    if old is None:
        return []
    if spec["ipFamilyPolicy"] == SINGLE:
        # The policy alone says it all: what follows from the second family goes with it.
        for name in ("clusterIPs", "ipFamilies"):
            if len(spec.get(name) or ()) > 1 and _same(spec, old, name):
                spec[name] = spec[name][:1]
        return []
    errors = []
    for name, what in (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")):
        if 0 < len(spec.get(name) or ()) < len(old.get(name) or ()):
            problem = f"must be 'SingleStack' to release the secondary {what}"
            errors.append(fields.invalid(POLICY, spec["ipFamilyPolicy"], problem))
    return errors


def _contradictions(spec: Object) -> list[FieldError]:
    if spec["ipFamilyPolicy"] != SINGLE:
        return []
    return [
        fields.invalid(POLICY, SINGLE, f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {what}")
        for name, what in (
            ("clusterIPs", "cluster IPs are specified"), ("ipFamilies", "IP families are specified"),
        )
        if len(spec.get(name) or ()) == 2
    ]  # fmt: skip


def _inferred(spec: Object, available: Sequence[str]) -> list[FieldError]:
    """Addresses that are asked for say their families."""
    errors = []
    families = list(spec.get("ipFamilies") or ())
    addresses = spec.get("clusterIPs") or []
    for index, address in enumerate(addresses):
        if address == "None":
            break
        if index < len(families):
            continue
        family = family_of(address)
        if family in available:
            families.append(family)
        else:
            problem = f"{family} is not configured on this cluster"
            errors.append(fields.invalid(f"spec.clusterIPs[{index}]", addresses, problem))
    if families:
        spec["ipFamilies"] = families
    return errors


def _unavailable(spec: Object, available: Sequence[str]) -> list[FieldError]:
    errors = []
    if spec["ipFamilyPolicy"] == REQUIRE and len(available) < 2:
        errors.append(fields.invalid(POLICY, REQUIRE, "this cluster is not configured for dual-stack services"))
    for index, family in enumerate(spec.get("ipFamilies") or ()):
        if family not in available:
            errors.append(fields.invalid(f"spec.ipFamilies[{index}]", family, "not configured on this cluster"))
    return errors


def _same(spec: Object, old: Object, name: str) -> bool:
    return (spec.get(name) or []) == (old.get(name) or [])


def _other(family: str) -> str:
    return FAMILIES[1 - FAMILIES.index(family)]
