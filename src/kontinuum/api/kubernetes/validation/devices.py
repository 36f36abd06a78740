"""What is wrong with claims of devices and with device classes (resource.k8s.io). CEL is looked at elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from kontinuum.api.kubernetes.validation import identifiers, names
from kontinuum.api.kubernetes.validation.identifiers import check
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

MOST = 32
"""Requests, constraints, configurations and selectors, each."""
MOST_ALTERNATIVES, MOST_TOLERATIONS, MOST_CONSUMERS = 8, 16, 256
EXPRESSION_BYTES = PARAMETER_BYTES = 10 * 1024
POOL_LENGTH, ID_LENGTH = 253, 32
MODES = ("All", "ExactCount")
OPERATORS, EFFECTS = ("Equal", "Exists"), ("NoExecute", "NoSchedule")
IMMUTABLE = "field is immutable"
NO_SUCH_REQUEST = (
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
)

Check = Callable[[Any, str], list[FieldError]]
Requests = Mapping[str, set[str]]
"""Names of the requests, with those of their alternatives."""


def validate_claim(spec: Object, path: str = "spec") -> list[FieldError]:
    devices = spec.get("devices") or {}
    requests, path = devices.get("requests") or [], f"{path}.devices"
    named = request_names(spec)
    return [
        *each(requests, MOST, _request, f"{path}.requests", key="name"),
        *each(devices.get("constraints") or [], MOST, lambda one, at: _constraint(one, at, named),
              f"{path}.constraints"),
        *each(devices.get("config") or [], MOST, lambda one, at: _claim_config(one, at, named), f"{path}.config"),
    ]  # fmt: skip


def request_names(spec: Object) -> Requests:
    return {
        one.get("name", ""): {other.get("name", "") for other in one.get("firstAvailable") or ()}
        for one in (spec.get("devices") or {}).get("requests") or ()
    }


def each(values: Sequence[Any], most: int, test: Check, path: str, *, key: str | None = None) -> list[FieldError]:
    """``test`` of each value. None may be there twice: by its field called ``key``, or for "" by itself."""
    if len(values) > most:
        return [fields.too_many(path, len(values), most)]
    errors = []
    for index, value in enumerate(values):
        errors += test(value, f"{path}[{index}]")
    if key is None:
        return errors
    identities = [value.get(key, "") if key else value for value in values]
    for index, identity in enumerate(identities):
        if identity in identities[:index]:
            errors.append(fields.duplicate(f"{path}[{index}]", identity))
    return errors


def _request(request: Object, path: str) -> list[FieldError]:
    errors = label(request.get("name", ""), f"{path}.name")
    alternatives, exactly = request.get("firstAvailable") or [], request.get("exactly")
    one = "exactly one of `exactly` or `firstAvailable` is required"
    if not alternatives and exactly is None:
        return [*errors, fields.required(path, one)]
    if alternatives and exactly is not None:
        return [*errors, fields.invalid(path, None, f"{one}, but multiple fields are set")]
    if exactly is not None:
        return errors + _exactly(exactly, f"{path}.exactly")
    here = f"{path}.firstAvailable"
    return errors + each(alternatives, MOST_ALTERNATIVES, _alternative, here, key="name")


def _alternative(request: Object, path: str) -> list[FieldError]:
    return label(request.get("name", ""), f"{path}.name") + _exactly(request, path)


def _exactly(request: Object, path: str) -> list[FieldError]:
    class_name = request.get("deviceClassName", "")
    here = f"{path}.deviceClassName"
    errors = check(class_name, names.dns_subdomain(class_name), here) if class_name else [fields.required(here)]
    errors += validate_selectors(request.get("selectors") or [], f"{path}.selectors")
    mode, count = request.get("allocationMode", ""), request.get("count", 0)
    if mode not in MODES:
        errors.append(fields.not_supported(f"{path}.allocationMode", mode, MODES))
    elif mode == "All" and count:
        problem = "must not be specified when allocationMode is 'All'"
        errors.append(fields.invalid(f"{path}.count", count, problem))
    elif mode == "ExactCount" and count <= 0:
        errors.append(fields.invalid(f"{path}.count", count, "must be greater than zero"))
    return errors + each(request.get("tolerations") or [], MOST_TOLERATIONS, _toleration, f"{path}.tolerations")


def validate_selectors(selectors: Sequence[Object], path: str) -> list[FieldError]:
    return each(selectors, MOST, _selector, path)


def _selector(selector: Object, path: str) -> list[FieldError]:
    expression = selector.get("cel")
    if expression is None:
        return [fields.required(f"{path}.cel")]
    text = expression.get("expression", "")
    here = f"{path}.cel.expression"
    if not text:
        return [fields.required(here)]
    return [fields.too_long(here, EXPRESSION_BYTES)] if len(text.encode()) > EXPRESSION_BYTES else []


def _toleration(one: Object, path: str) -> list[FieldError]:
    key, operator, value, effect = (one.get(field, "") for field in ("key", "operator", "value", "effect"))
    errors = check(key, names.qualified_name(key) if key else [], f"{path}.key")
    if operator == "Exists" and value:
        errors.append(fields.invalid(f"{path}.value", value, "must be empty for operator `Exists`"))
    elif operator == "Equal":
        errors += check(value, names.label_value(value), f"{path}.value")
    elif operator not in OPERATORS:
        errors.append(fields.not_supported(f"{path}.operator", operator, OPERATORS))
    if effect and effect not in EFFECTS:
        errors.append(fields.not_supported(f"{path}.effect", effect, EFFECTS))
    return errors


def _constraint(constraint: Object, path: str, requests: Requests) -> list[FieldError]:
    errors = _references(constraint.get("requests") or [], f"{path}.requests", requests)
    for field in ("matchAttribute", "distinctAttribute"):
        if (attribute := constraint.get(field)) is not None:
            return errors + fully_qualified(attribute, f"{path}.{field}")
    return [*errors, fields.required(f"{path}.matchAttribute")]


def _claim_config(config: Object, path: str, requests: Requests) -> list[FieldError]:
    errors = _references(config.get("requests") or [], f"{path}.requests", requests)
    return errors + validate_config(config, path)


def validate_config(config: Object, path: str) -> list[FieldError]:
    """Of a class or a claim."""
    opaque = config.get("opaque")
    if opaque is None:
        return [fields.required(f"{path}.opaque")]
    errors = identifiers.csi_driver_name(opaque.get("driver", ""), f"{path}.opaque.driver")
    return errors + raw_object(opaque.get("parameters"), f"{path}.opaque.parameters", PARAMETER_BYTES)


def raw_object(value: Any, path: str, most: int) -> list[FieldError]:
    """A document that only a driver understands."""
    if value is None:
        return [fields.required(path)]
    if len(orjson.dumps(value)) > most:
        return [fields.too_long(path, most)]
    return [] if isinstance(value, dict) else [fields.invalid(path, "<value omitted>", "must be a valid JSON object")]


def _references(values: Sequence[str], path: str, requests: Requests) -> list[FieldError]:
    return each(values, MOST, lambda one, at: reference(one, at, requests), path, key="")


def reference(name: str, path: str, requests: Requests) -> list[FieldError]:
    """The name of a request, or ``request/alternative``."""
    first, *rest = name.split("/")
    if len(rest) > 1:
        return [fields.invalid(path, name, NO_SUCH_REQUEST)]
    errors = [error for part in (first, *rest) for error in label(part, path)]
    if first not in requests or (rest and rest[0] not in requests[first]):
        errors.append(fields.invalid(path, name, NO_SUCH_REQUEST))
    return errors


def label(name: str, path: str) -> list[FieldError]:
    return check(name, names.dns_label(name), path)


def pool(name: str, path: str) -> list[FieldError]:
    if not name:
        return [fields.required(path)]
    errors = [fields.too_long(path, POOL_LENGTH)] if len(name) > POOL_LENGTH else []
    for part in name.split("/"):
        errors += check(part, names.dns_subdomain(part), path)
    return errors


def qualified(name: str, path: str) -> list[FieldError]:
    """``capacity``, or ``driver.example.com/capacity``."""
    domain, slash, local = name.rpartition("/")
    errors = []
    if slash and not domain:
        errors.append(fields.invalid(path, "", "the domain must not be empty"))
    elif slash:
        errors += identifiers.csi_driver_name(domain, path)
    if not local:
        return [*errors, fields.invalid(path, "", "the name must not be empty")]
    errors += [fields.too_long(path, ID_LENGTH)] if len(local) > ID_LENGTH else []
    return errors + check(local, identifiers.c_identifier(local), path)


def fully_qualified(name: str, path: str) -> list[FieldError]:
    errors = qualified(name, path)
    if "/" not in name:
        problem = "a fully qualified name must be a domain and a name separated by a slash"
        errors.append(fields.invalid(path, name, problem))
    return errors


def validate_device_class(spec: Object) -> list[FieldError]:
    errors = validate_selectors(spec.get("selectors") or [], "spec.selectors")
    errors += each(spec.get("config") or [], MOST, validate_config, "spec.config")
    name = spec.get("extendedResourceName")
    if name is not None and ("/" not in name or name.startswith("requests.") or "kubernetes.io/" in name):
        problem = "must be a valid extended resource name"
        errors.append(fields.invalid("spec.extendedResourceName", name, problem))
    return errors
