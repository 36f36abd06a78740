"""What is wrong with a Service's addresses and address families, and with changes of them.

Families may be added and given back (with ``ipFamilyPolicy: SingleStack``), but the first address and the first family
stay for as long as the Service has any.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from kontinuum.api.kubernetes.defaults.services import is_headless
from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.checks import problems
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

FAMILIES = ("IPv4", "IPv6")
POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
SET = "may not change once set"


def family_of(address: str) -> str:
    """``IPv4`` or ``IPv6``. Raises ValueError."""
    return f"IPv{ipaddress.ip_address(address).version}"


def validate_addresses(spec: Object) -> list[FieldError]:
    if spec.get("type") == "ExternalName":
        return []
    first, addresses, families = spec.get("clusterIP") or "", spec.get("clusterIPs") or [], spec.get("ipFamilies") or []
    path, errors = "spec.clusterIPs", []
    if first and not addresses:
        errors.append(fields.required(path))
    elif first and addresses[0] != first:
        errors.append(fields.invalid(path, addresses, "first value must match `clusterIP`"))
    elif addresses and not first:
        errors.append(fields.invalid(path, addresses, "must be empty when `clusterIP` is not specified"))
    for index, family in enumerate(families):
        if family not in FAMILIES:
            errors.append(fields.not_supported(f"spec.ipFamilies[{index}]", family, FAMILIES))
        if family in families[:index]:
            errors.append(fields.duplicate(f"spec.ipFamilies[{index}]", family))
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in POLICIES:
        errors.append(fields.not_supported("spec.ipFamilyPolicy", policy, POLICIES))
    wrong = _well_formed(addresses, path)
    if len(addresses) > 2:
        errors.append(fields.invalid(path, addresses, "may only hold up to 2 values"))
    return errors + (wrong or _families(spec, addresses, families, path))


def _well_formed(addresses: list[str], path: str) -> list[FieldError]:
    errors = []
    for index, address in enumerate(addresses):
        if index == 0 and address == "None":
            if len(addresses) > 1:
                errors.append(fields.invalid(path, addresses, "'None' must be the first and only value"))
            continue
        errors += problems(address, names.ip_address(address), f"{path}[{index}]")
    return errors


def _families(spec: Object, addresses: list[str], families: list[str], path: str) -> list[FieldError]:
    errors = []
    if len(addresses) > 1 and len({family_of(one) for one in addresses}) != len(addresses):
        errors.append(fields.invalid(path, addresses, "may specify no more than one IP for each IP family"))
    if is_headless(spec):
        return errors
    for index, (address, family) in enumerate(zip(addresses, families, strict=False)):
        if family in FAMILIES and family_of(address) != family:
            problem = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
            errors.append(fields.invalid(f"{path}[{index}]", address, problem))
    return errors


def validate_address_change(spec: Object, old: Object) -> list[FieldError]:
    if "ExternalName" in (spec.get("type"), old.get("type")) or (is_headless(spec) and is_headless(old)):
        return _other_changes(spec, old)
    errors = _kept(spec, old, "clusterIPs", "clusterIP")
    if is_headless(spec) == is_headless(old):
        errors += _kept(spec, old, "ipFamilies", "ipFamily")
    return errors + _other_changes(spec, old)


def _kept(spec: Object, old: Object, name: str, one: str) -> list[FieldError]:
    new, before = spec.get(name) or [], old.get(name) or []
    path = f"spec.{name}"
    if len(new) == len(before):
        return [fields.invalid(f"{path}[{index if one == 'clusterIP' else 0}]", new, SET)
                for index, value in enumerate(before) if value != new[index]]  # fmt: skip
    errors = []
    if len(new) < len(before):
        if not new:
            errors.append(fields.invalid(f"{path}[0]", None, f"primary {one} can not be unset"))
        elif new[0] != before[0]:
            errors.append(fields.invalid(f"{path}[0]", new, SET))
        if len(new) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
            problem = f"must be set to 'SingleStack' when releasing the secondary {one}"
            errors.append(fields.invalid("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), problem))
    elif before and new[0] != before[0]:
        errors.append(fields.invalid(f"{path}[0]", new, SET))
    return errors


def _other_changes(spec: Object, old: Object) -> list[FieldError]:
    errors = []
    both: Any = (spec, old)
    if all(one.get("type") == "LoadBalancer" for one in both):
        cls, before = (one.get("loadBalancerClass") for one in both)
        if cls != before:
            shown = "null" if cls is None else cls
            errors.append(fields.invalid("spec.loadBalancerClass", shown, SET))
        is_local = all(one.get("externalTrafficPolicy") == "Local" for one in both)
        if is_local and spec.get("healthCheckNodePort") != old.get("healthCheckNodePort"):
            errors.append(fields.forbidden("spec.healthCheckNodePort", "field is immutable"))
    return errors
