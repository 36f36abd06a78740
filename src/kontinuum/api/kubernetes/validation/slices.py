"""What is wrong with a ResourceSlice: the devices that a driver has on offer."""

from __future__ import annotations

import re
from typing import Any

from kontinuum.api.kubernetes.validation import identifiers, names
from kontinuum.api.kubernetes.validation.devices import IMMUTABLE, each, label, pool, qualified
from kontinuum.api.kubernetes.validation.identifiers import check
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

MOST_DEVICES, MOST_DEVICES_WITH_MORE = 128, 64
MOST_PROPERTIES, MOST_TAINTS, MOST_COUNTER_SETS, MOST_CONSUMED, MOST_COUNTERS = 32, 16, 8, 2, 32
VALUE_LENGTH = 64
VALUES = ("bool", "int", "string", "version")
EFFECTS = ("NoExecute", "NoSchedule", "None")
SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?",
    re.ASCII,
)


def validate_slice(spec: Object) -> list[FieldError]:
    errors = identifiers.csi_driver_name(spec.get("driver", ""), "spec.driver")
    errors += _pool(spec.get("pool") or {})
    places, wrong = _places(spec, "spec", ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"))
    errors += wrong
    needed = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
    if not places:
        errors.append(fields.required("spec", needed))
    elif len(places) > 1:
        shown = f"{{{', '.join(f'`{one}`' for one in places)}}}"
        errors.append(fields.invalid("spec", shown, f"{needed}, but multiple fields are set"))
    devices, counters = spec.get("devices") or [], spec.get("sharedCounters") or []
    if devices and counters:
        errors.append(fields.invalid("spec", "", "only one of `sharedCounters` or `devices` is allowed"))
    with_more = any(one.get("taints") or one.get("consumesCounters") for one in devices)
    most = MOST_DEVICES_WITH_MORE if with_more else MOST_DEVICES
    each_place = spec.get("perDeviceNodeSelection") is True
    errors += each(devices, most, lambda one, at: _device(one, at, each_place=each_place), "spec.devices", key="name")
    return errors + each(counters, MOST_COUNTER_SETS, _counter_set, "spec.sharedCounters", key="name")


def validate_slice_change(spec: Object, old: Object) -> list[FieldError]:
    def fixed(new: Any, before: Any, path: str) -> list[FieldError]:
        return [] if new == before else [fields.invalid(path, new, IMMUTABLE)]

    return [
        *fixed((spec.get("pool") or {}).get("name"), (old.get("pool") or {}).get("name"), "spec.pool.name"),
        *fixed(spec.get("driver"), old.get("driver"), "spec.driver"),
        *fixed(spec.get("nodeName"), old.get("nodeName"), "spec.nodeName"),
    ]


def _pool(one: Object) -> list[FieldError]:
    count, generation = one.get("resourceSliceCount", 0), one.get("generation", 0)
    errors = pool(one.get("name", ""), "spec.pool.name")
    if count <= 0:
        errors.append(fields.invalid("spec.pool.resourceSliceCount", count, "must be greater than zero"))
    if generation < 0:
        problem = "must be greater than or equal to zero"
        errors.append(fields.invalid("spec.pool.generation", generation, problem))
    return errors


def _places(one: Object, path: str, names_of_fields: tuple[str, ...]) -> tuple[list[str], list[FieldError]]:
    """Which of the fields that say where devices are is set, and what is wrong with them."""
    found, errors = [], []
    for field in names_of_fields:
        value = one.get(field)
        here = f"{path}.{field}"
        if value is None:
            continue
        if value is False:
            errors.append(fields.invalid(here, value, "must be either unset or set to true"))
            continue
        if value == "":
            errors.append(fields.invalid(here, value, "must be either unset or set to a non-empty string"))
            continue
        found.append(field)
        if field == "nodeName":
            errors += check(value, names.dns_subdomain(value), here)
        terms = value.get("nodeSelectorTerms") or [] if field == "nodeSelector" else [None]
        if len(terms) != 1:
            problem = "must have exactly one node selector term"
            errors.append(fields.invalid(f"{here}.nodeSelectorTerms", terms, problem))
    return found, errors


def _device(device: Object, path: str, *, each_place: bool) -> list[FieldError]:
    attributes, capacity = device.get("attributes") or {}, device.get("capacity") or {}
    errors = label(device.get("name", ""), f"{path}.name")
    total = len(attributes) + len(capacity)
    if total > MOST_PROPERTIES:
        problem = f"the total number of attributes and capacities must not exceed {MOST_PROPERTIES}"
        errors.append(fields.invalid(path, total, problem))
    for key, value in attributes.items():
        errors += qualified(key, f"{path}.attributes[{key}]") + _attribute(value, f"{path}.attributes[{key}]")
    shared = device.get("allowMultipleAllocations") is True
    for key, value in capacity.items():
        here = f"{path}.capacity[{key}]"
        errors += qualified(key, here)
        if value.get("requestPolicy") is not None and not shared:
            errors.append(fields.forbidden(f"{here}.requestPolicy", "allowMultipleAllocations must be true"))
    errors += each(device.get("taints") or [], MOST_TAINTS, _taint, f"{path}.taints")
    consumed = device.get("consumesCounters") or []
    errors += each(consumed, MOST_CONSUMED, _consumption, f"{path}.consumesCounters", key="counterSet")
    return errors + _device_place(device, path, each_place=each_place)


def _device_place(device: Object, path: str, *, each_place: bool) -> list[FieldError]:
    places, errors = _places(device, path, ("nodeName", "nodeSelector", "allNodes"))
    when = "if `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
    if not each_place and (places or errors):
        problem = f"`nodeName`, `nodeSelector` and `allNodes` can only be set {when}"
        return [fields.invalid(path, None, problem)]
    if each_place and len(places) != 1:
        needed = f"exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required {when.replace('if', 'when', 1)}"
        shown = f"{{{', '.join(f'`{one}`' for one in places)}}}"
        errors.append(fields.invalid(path, shown, needed) if places else fields.required(path, needed))
    return errors


def _attribute(value: Object, path: str) -> list[FieldError]:
    given = [kind for kind in VALUES if value.get(kind) is not None]
    errors = []
    version = value.get("version")
    if version is not None and not SEMVER.fullmatch(version):
        problem = "must be a string compatible with semver.org spec 2.0.0"
        errors.append(fields.invalid(f"{path}.version", version, problem))
    for kind in ("string", "version"):
        if len((value.get(kind) or "").encode()) > VALUE_LENGTH:
            errors.append(fields.too_long(f"{path}.{kind}", VALUE_LENGTH))
    if len(given) != 1:
        errors.append(fields.invalid(path, value if given else "", "exactly one value must be specified"))
    return errors


def _taint(taint: Object, path: str) -> list[FieldError]:
    key, value, effect = (taint.get(field, "") for field in ("key", "value", "effect"))
    errors = check(key, names.qualified_name(key), f"{path}.key")
    errors += check(value, names.label_value(value), f"{path}.value")
    if not effect:
        return [*errors, fields.required(f"{path}.effect")]
    return errors + ([] if effect in EFFECTS else [fields.not_supported(f"{path}.effect", effect, EFFECTS)])


def _counter_set(one: Object, path: str) -> list[FieldError]:
    return _counters(one, path, "name")


def _consumption(one: Object, path: str) -> list[FieldError]:
    return _counters(one, path, "counterSet")


def _counters(one: Object, path: str, named: str) -> list[FieldError]:
    name, counters = one.get(named, ""), one.get("counters") or {}
    errors = label(name, f"{path}.{named}") if name else [fields.required(f"{path}.{named}")]
    if not counters:
        return [*errors, fields.required(f"{path}.counters")]
    if len(counters) > MOST_COUNTERS:
        return [*errors, fields.too_many(f"{path}.counters", len(counters), MOST_COUNTERS)]
    return errors + [error for key in counters for error in label(key, f"{path}.counters[{key}]")]
