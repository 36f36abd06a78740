"""What is wrong with the kinds of networking.k8s.io, but for Ingresses, which fill a file of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kontinuum.api.kubernetes.validation import identifiers, names
from kontinuum.api.kubernetes.validation.identifiers import check
from kontinuum.api.kubernetes.validation.scheduling import validate_selector
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

IMMUTABLE = "field is immutable"
PROTOCOLS = ("TCP", "UDP", "SCTP")
CONTROLLER_LENGTH = 250


def validate_network_policy(spec: Object, old: Object | None = None) -> list[FieldError]:
    """``old``'s address blocks may stay however wrong they are: rules have become stricter with time."""
    errors = validate_selector(spec.get("podSelector") or {}, "spec.podSelector")
    known = set(_blocks(old)) if old is not None else set()
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(direction) or ()):
            path = f"spec.{direction}[{index}]"
            for at, port in enumerate(rule.get("ports") or ()):
                errors += _policy_port(port, f"{path}.ports[{at}]")
            for at, peer in enumerate(rule.get(peers) or ()):
                errors += _peer(peer, f"{path}.{peers}[{at}]", known)
    types = spec.get("policyTypes") or []
    if len(types) > 2:
        return [*errors, fields.invalid("spec.policyTypes", types, "may not specify more than two policyTypes")]
    supported = ("Ingress", "Egress")
    return errors + [
        fields.not_supported(f"spec.policyTypes[{index}]", one, supported)
        for index, one in enumerate(types)
        if one not in supported
    ]


def _blocks(spec: Object) -> Iterator[str]:
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for rule in spec.get(direction) or ():
            for peer in rule.get(peers) or ():
                block = peer.get("ipBlock") or {}
                yield block.get("cidr", "")
                yield from block.get("except") or ()


def _policy_port(port: Object, path: str) -> list[FieldError]:
    protocol, number, end = port.get("protocol"), port.get("port"), port.get("endPort")
    errors = []
    if protocol is not None and protocol not in PROTOCOLS:
        errors.append(fields.not_supported(f"{path}.protocol", protocol, PROTOCOLS))
    if number is None:
        if end is not None:
            problem = "may not be specified when `port` is not specified"
            errors.append(fields.invalid(f"{path}.endPort", end, problem))
    elif isinstance(number, str):
        if end is not None:
            problem = "may not be specified when `port` is non-numeric"
            errors.append(fields.invalid(f"{path}.endPort", end, problem))
        errors += check(number, names.port_name(number), f"{path}.port")
    else:
        errors += check(number, names.port_number(number), f"{path}.port")
        if end is not None and end < number:
            errors.append(fields.invalid(f"{path}.endPort", end, "must be greater than or equal to `port`"))
        errors += check(end, names.port_number(end) if end is not None else [], f"{path}.endPort")
    return errors


def _peer(peer: Object, path: str, known: set[str]) -> list[FieldError]:
    errors = []
    for field in ("podSelector", "namespaceSelector"):
        if field in peer:
            errors += validate_selector(peer[field], f"{path}.{field}")
    if "ipBlock" in peer:
        errors += _block(peer["ipBlock"], f"{path}.ipBlock", known)
    given = [field for field in ("podSelector", "namespaceSelector", "ipBlock") if field in peer]
    if not given:
        errors.append(fields.required(path, "must specify a peer"))
    elif len(given) > 1 and "ipBlock" in given:
        errors.append(fields.forbidden(path, "may not specify both ipBlock and another peer"))
    return errors


def _block(block: Object, path: str, known: set[str]) -> list[FieldError]:
    text = block.get("cidr", "")
    if not text:
        return [fields.required(f"{path}.cidr")]
    errors = [] if text in known else identifiers.cidr(text, f"{path}.cidr")
    outer = identifiers.network(text)
    if outer is None:
        return errors
    for index, hole in enumerate(block.get("except") or ()):
        here = f"{path}.except[{index}]"
        errors += [] if hole in known else identifiers.cidr(hole, here)
        inner = identifiers.network(hole)
        if inner is None:
            continue
        first = inner.network_address
        if inner.version != outer.version or first not in outer or outer.prefixlen >= inner.prefixlen:
            errors.append(fields.invalid(here, hole, "must be a strict subset of `cidr`"))
    return errors


def validate_ingress_class(spec: Object) -> list[FieldError]:
    controller = spec.get("controller", "")
    path = "spec.controller"
    errors = [fields.too_long(path, CONTROLLER_LENGTH)] if len(controller) > CONTROLLER_LENGTH else []
    errors += identifiers.domain_prefixed_path(controller, path)
    parameters = spec.get("parameters")
    return errors + (_class_parameters(parameters, "spec.parameters") if parameters is not None else [])


def _class_parameters(parameters: Object, path: str) -> list[FieldError]:
    errors = validate_local_reference(parameters, path)
    scope, namespace = parameters.get("scope", ""), parameters.get("namespace")
    if scope not in ("Cluster", "Namespace"):
        errors.append(fields.not_supported(f"{path}.scope", scope, ("Cluster", "Namespace")))
    elif scope == "Namespace" and namespace is None:
        errors.append(fields.required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'"))
    elif scope == "Namespace":
        errors += check(namespace, names.dns_label(namespace or ""), f"{path}.namespace")
    elif namespace is not None:
        errors.append(fields.forbidden(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'"))
    return errors


def validate_local_reference(reference: Object, path: str) -> list[FieldError]:
    """A TypedLocalObjectReference."""
    group = reference.get("apiGroup")
    errors = check(group, names.dns_subdomain(group), f"{path}.apiGroup") if group is not None else []
    return errors + _segments(reference, path, "kind", "name")


def _segments(reference: Object, path: str, *required: str) -> list[FieldError]:
    errors = []
    for field in required:
        value = reference.get(field, "")
        if not value:
            errors.append(fields.required(f"{path}.{field}"))
        errors += check(value, identifiers.path_segment(value), f"{path}.{field}")
    return errors


def validate_ip_address(spec: Object) -> list[FieldError]:
    parent = spec.get("parentRef")
    if parent is None:
        return [fields.required("spec.parentRef")]
    path = "spec.parentRef"
    group, namespace = parent.get("group", ""), parent.get("namespace", "")
    errors = check(group, names.dns_subdomain(group), f"{path}.group") if group else []
    errors += _segments(parent, path, "resource", "name")
    return errors + check(namespace, identifiers.path_segment(namespace), f"{path}.namespace")


def validate_service_cidrs(cidrs: Sequence[str]) -> list[FieldError]:
    path = "spec.cidrs"
    if not cidrs:
        return [fields.required(path, "at least one CIDR required")]
    if len(cidrs) > 2:
        return [fields.invalid(path, {"cidrs": list(cidrs)}, "may only hold up to 2 values")]
    errors = []
    for index, one in enumerate(cidrs):
        errors += identifiers.canonical_cidr(one, f"{path}[{index}]")
    networks = [found for one in cidrs if (found := identifiers.network(one)) is not None]
    if len(networks) == 2 and networks[0].version == networks[1].version:
        problem = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        errors.append(fields.invalid(path, list(cidrs), problem))
    return errors


def validate_service_cidrs_change(cidrs: Sequence[str], old: Sequence[str]) -> list[FieldError]:
    """Ranges stay as they are; a second family may be added."""
    if len(cidrs) == len(old):
        pairs: list[tuple[Any, Any]] = list(zip(cidrs, old, strict=True))
        return [
            fields.invalid(f"spec.cidrs[{index}]", new, IMMUTABLE)
            for index, (new, before) in enumerate(pairs)
            if new != before
        ]
    if len(old) == 1 and len(cidrs) == 2:
        errors = [] if cidrs[0] == old[0] else [fields.invalid("spec.cidrs[0]", cidrs[0], IMMUTABLE)]
        return errors + validate_service_cidrs(cidrs)
    return [fields.invalid("spec.cidrs", list(cidrs), IMMUTABLE)]
