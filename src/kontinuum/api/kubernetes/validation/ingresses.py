"""What is wrong with an Ingress."""

from __future__ import annotations

from collections.abc import Sequence

from kontinuum.api.kubernetes.validation import identifiers, names
from kontinuum.api.kubernetes.validation.identifiers import check
from kontinuum.api.kubernetes.validation.networking import validate_local_reference
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

CLASS = "kubernetes.io/ingress.class"
PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
NO_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
NO_ENDINGS = ("/..", "/.")
NOT_AN_ADDRESS = "must be a DNS name, not an IP address"


def validate_ingress(spec: Object) -> list[FieldError]:
    rules, backend = spec.get("rules") or [], spec.get("defaultBackend")
    errors = []
    if not rules and backend is None:
        errors.append(fields.invalid("spec", None, "either `defaultBackend` or `rules` must be specified"))
    if backend is not None:
        errors += _backend(backend, "spec.defaultBackend")
    for index, rule in enumerate(rules):
        errors += _rule(rule, f"spec.rules[{index}]")
    for index, one in enumerate(spec.get("tls") or ()):
        errors += _tls(one, f"spec.tls[{index}]")
    if (name := spec.get("ingressClassName")) is not None:
        errors += check(name, names.dns_subdomain(name), "spec.ingressClassName")
    return errors


def validate_class_annotation(ingress: Object) -> list[FieldError]:
    """The annotation is the old name of ``spec.ingressClassName``; together they must agree, at creation."""
    named = (ingress["metadata"].get("annotations") or {}).get(CLASS)
    wanted = (ingress.get("spec") or {}).get("ingressClassName")
    if named is None or wanted is None or named == wanted:
        return []
    problem = "must match `ingressClassName` when both are specified"
    return [fields.invalid(f"annotations.{CLASS}", named, problem)]


def validate_ingress_status(points: Sequence[Object]) -> list[FieldError]:
    """``status.loadBalancer.ingress``"""
    errors = []
    for index, point in enumerate(points):
        path = f"status.loadBalancer.ingress[{index}]"
        address, host = point.get("ip", ""), point.get("hostname", "")
        errors += check(address, names.ip_address(address) if address else [], f"{path}.ip")
        if host:
            errors += check(host, names.dns_subdomain(host), f"{path}.hostname")
            if identifiers.is_ip(host):
                errors.append(fields.invalid(f"{path}.hostname", host, NOT_AN_ADDRESS))
    return errors


def _host(host: str, path: str) -> list[FieldError]:
    problems = identifiers.wildcard_subdomain(host) if "*" in host else names.dns_subdomain(host)
    return check(host, problems, path)


def _tls(tls: Object, path: str) -> list[FieldError]:
    errors = []
    for index, host in enumerate(tls.get("hosts") or ()):
        errors += _host(host, f"{path}.hosts[{index}]")
    secret = tls.get("secretName", "")
    return errors + check(secret, names.dns_subdomain(secret) if secret else [], f"{path}.secretName")


def _rule(rule: Object, path: str) -> list[FieldError]:
    errors = []
    host = rule.get("host", "")
    if host:
        if identifiers.is_ip(host):
            errors.append(fields.invalid(f"{path}.host", host, NOT_AN_ADDRESS))
        errors += _host(host, f"{path}.host")
    if "http" in rule:
        paths = rule["http"].get("paths") or []
        errors += [] if paths else [fields.required(f"{path}.http.paths")]
        for index, one in enumerate(paths):
            errors += _path(one, f"{path}.http.paths[{index}]")
    return errors


def _path(one: Object, path: str) -> list[FieldError]:
    kind, text = one.get("pathType"), one.get("path", "")
    if kind is None:
        return [fields.required(f"{path}.pathType", "pathType must be specified")]
    errors = []
    here = f"{path}.path"
    if kind not in PATH_TYPES:
        errors.append(fields.not_supported(f"{path}.pathType", kind, PATH_TYPES))
    elif not text.startswith("/") and (text or kind != "ImplementationSpecific"):
        errors.append(fields.invalid(here, text, "must be an absolute path"))
    if kind in ("Exact", "Prefix"):
        errors += [fields.invalid(here, text, f"must not contain '{one}'") for one in NO_SEQUENCES if one in text]
        errors += [fields.invalid(here, text, f"cannot end with '{one}'") for one in NO_ENDINGS if text.endswith(one)]
    return errors + _backend(one.get("backend") or {}, f"{path}.backend")


def _backend(backend: Object, path: str) -> list[FieldError]:
    if "resource" in backend and "service" in backend:
        return [fields.invalid(path, "", "cannot set both resource and service backends")]
    if "resource" in backend:
        return validate_local_reference(backend["resource"], f"{path}.resource")
    if "service" not in backend:
        return [fields.invalid(path, "", "resource or service backend is required")]
    return _service(backend["service"], path)


def _service(service: Object, path: str) -> list[FieldError]:
    name, port = service.get("name", ""), service.get("port") or {}
    errors = [] if name else [fields.required(f"{path}.service.name")]
    errors += check(name, names.dns_label(name) if name else [], f"{path}.service.name")
    port_name, number = port.get("name", ""), port.get("number", 0)
    if port_name and number:
        errors.append(fields.invalid(path, "", "cannot set both port name & port number"))
    elif port_name:
        errors += check(port_name, names.port_name(port_name), f"{path}.service.port.name")
    elif number:
        errors += check(number, names.port_number(number), f"{path}.service.port.number")
    else:
        errors.append(fields.required(path, "port name or number is required"))
    return errors
