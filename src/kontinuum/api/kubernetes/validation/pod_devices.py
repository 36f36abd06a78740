"""What is wrong with the claims of devices that a pod names, and with what its containers take of them."""

from __future__ import annotations

from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.identifiers import check
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

SOURCES = ("resourceClaimName", "resourceClaimTemplateName")
BOTH = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
NEITHER = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
NOT_NAMED = "must be one of the names in pod.spec.resourceClaims"


def validate_pod_devices(spec: Object, path: str) -> list[FieldError]:
    claims = spec.get("resourceClaims") or []
    named: set[str] = set()
    errors = []
    for index, claim in enumerate(claims):
        errors += _claim(claim, named, f"{path}.resourceClaims[{index}]")
    for group in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(group) or ()):
            taken = (container.get("resources") or {}).get("claims") or []
            errors += _taken(taken, named, f"{path}.{group}[{index}].resources.claims")
    return errors


def _claim(claim: Object, named: set[str], path: str) -> list[FieldError]:
    """``named`` are the claims before, and this one afterwards."""
    name, found = claim.get("name", ""), [field for field in SOURCES if claim.get(field) is not None]
    if not name:
        errors = [fields.required(f"{path}.name")]
    elif name in named:
        errors = [fields.duplicate(f"{path}.name", name)]
    else:
        errors = check(name, names.dns_label(name), f"{path}.name")
        named.add(name)
    if len(found) != 1:
        errors.append(fields.invalid(path, claim, BOTH if found else NEITHER))
    for field in found:
        errors += check(claim[field], names.dns_subdomain(claim[field]), f"{path}.{field}")
    return errors


def _taken(taken: list[Object], named: set[str], path: str) -> list[FieldError]:
    errors = []
    seen: set[tuple[str, str]] = set()
    for index, one in enumerate(taken):
        name, here = one.get("name", ""), f"{path}[{index}]"
        part = name, one.get("request", "")
        if not name:
            errors.append(fields.required(f"{here}.name"))
        elif name not in named:
            detail = NOT_NAMED if named else f"{NOT_NAMED} which is empty"
            errors.append(fields.not_found(f"{here}.name", name, detail))
        # All of a claim is also each of its requests.
        if part in seen or (name, "") in seen or (not part[1] and name in {other for other, _ in seen}):
            errors.append(fields.duplicate(here, "/".join(filter(None, part))))
        seen.add(part)
    return errors
