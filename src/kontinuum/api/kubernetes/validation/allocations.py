"""What is wrong with the status of a ResourceClaim: what was allocated, to whom, and how the devices are."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.validation import identifiers
from kontinuum.api.kubernetes.validation.devices import (
    IMMUTABLE,
    MOST,
    MOST_CONSUMERS,
    Requests,
    each,
    label,
    pool,
    raw_object,
    reference,
    request_names,
    validate_config,
)
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

MOST_CONDITIONS, DATA_BYTES = 8, 10 * 1024
INTERFACE_LENGTH, HARDWARE_LENGTH, MOST_ADDRESSES = 256, 128, 16
SOURCES = ("FromClaim", "FromClass")


def validate_claim_status(claim: Object, old: Object) -> list[FieldError]:
    status, before = claim.get("status") or {}, old.get("status") or {}
    allocation, earlier = status.get("allocation"), before.get("allocation")
    consumers = status.get("reservedFor") or []
    errors = each(consumers, MOST_CONSUMERS, _consumer, "status.reservedFor", key="uid")
    results = ((allocation or {}).get("devices") or {}).get("results") or []
    allocated = {_identity(one) for one in results}
    devices = status.get("devices") or []
    errors += each(devices, len(devices), lambda one, at: _device(one, at, allocated), "status.devices")
    path = "status.reservedFor"
    if consumers and allocation is None:
        errors.append(fields.forbidden(path, "may not be specified when `allocated` is not set"))
    added = [one for one in consumers if one not in (before.get("reservedFor") or [])]
    if added and allocation is not None and claim["metadata"].get("deletionTimestamp"):
        problem = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
        errors.append(fields.forbidden(path, problem))
    if allocation is not None and earlier is not None and allocation != earlier:
        errors.append(fields.invalid("status.allocation", allocation, IMMUTABLE))
    elif allocation is not None and earlier is None:
        errors += _allocation(allocation, request_names(claim.get("spec") or {}))
    return errors


def _consumer(one: Object, path: str) -> list[FieldError]:
    return [fields.required(f"{path}.{field}") for field in ("resource", "name", "uid") if not one.get(field)]


def _allocation(allocation: Object, requests: Requests) -> list[FieldError]:
    devices = allocation.get("devices") or {}
    path = "status.allocation.devices"
    errors = each(devices.get("results") or [], MOST, lambda one, at: _result(one, at, requests), f"{path}.results")
    # Those of the class and those of the claim.
    return errors + each(devices.get("config") or [], 2 * MOST, lambda one, at: _config(one, at, requests),
                         f"{path}.config")  # fmt: skip


def _result(one: Object, path: str, requests: Requests) -> list[FieldError]:
    return reference(one.get("request", ""), f"{path}.request", requests) + _where(one, path)


def _where(one: Object, path: str) -> list[FieldError]:
    return [
        *identifiers.csi_driver_name(one.get("driver", ""), f"{path}.driver"),
        *pool(one.get("pool", ""), f"{path}.pool"),
        *label(one.get("device", ""), f"{path}.device"),
    ]


def _config(one: Object, path: str, requests: Requests) -> list[FieldError]:
    source = one.get("source", "")
    errors = []
    if source not in SOURCES:
        here = f"{path}.source"
        errors.append(fields.not_supported(here, source, SOURCES) if source else fields.required(here))
    errors += each(
        one.get("requests") or [], MOST, lambda name, at: reference(name, at, requests), f"{path}.requests", key=""
    )
    return errors + validate_config(one, path)


def _identity(one: Object) -> tuple[str, ...]:
    return tuple(one.get(field) or "" for field in ("driver", "pool", "device", "shareID"))


def _device(one: Object, path: str, allocated: set[tuple[str, ...]]) -> list[FieldError]:
    errors = _where(one, path)
    if _identity(one) not in allocated:
        shown = "/".join(part for part in _identity(one) if part)
        errors.append(fields.invalid(path, shown, "must be an allocated device in the claim"))
    conditions = one.get("conditions") or []
    if len(conditions) > MOST_CONDITIONS:
        errors.append(fields.too_many(f"{path}.conditions", len(conditions), MOST_CONDITIONS))
    if (data := one.get("data")) is not None:
        errors += raw_object(data, f"{path}.data", DATA_BYTES)
    return errors + _network(one.get("networkData") or {}, f"{path}.networkData")


def _network(data: Object, path: str) -> list[FieldError]:
    lengths: tuple[tuple[str, int], ...] = (("interfaceName", INTERFACE_LENGTH), ("hardwareAddress", HARDWARE_LENGTH))
    errors = [fields.too_long(f"{path}.{field}", most) for field, most in lengths if len(data.get(field) or "") > most]
    return errors + each(data.get("ips") or [], MOST_ADDRESSES, _address, f"{path}.ips", key="")


def _address(text: Any, path: str) -> list[FieldError]:
    if identifiers.network(text) is not None:
        return []
    problem = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"
    return [fields.invalid(path, text, problem)]
