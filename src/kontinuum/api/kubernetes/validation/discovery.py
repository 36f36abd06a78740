"""What is wrong with an EndpointSlice."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from kontinuum.api.kubernetes.validation import identifiers, names
from kontinuum.api.kubernetes.validation.identifiers import check
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
PROTOCOLS = ("SCTP", "TCP", "UDP")
MOST_ENDPOINTS, MOST_ADDRESSES, MOST_PORTS, MOST_TOPOLOGY, MOST_HINTS = 1000, 100, 20000, 16, 8


def validate_endpoint_slice(obj: Object) -> list[FieldError]:
    kind = obj.get("addressType", "")
    errors = []
    if not kind:
        errors.append(fields.required("addressType"))
    elif kind not in ADDRESS_TYPES:
        errors.append(fields.not_supported("addressType", kind, ADDRESS_TYPES))
    endpoints, ports = obj.get("endpoints") or [], obj.get("ports") or []
    if len(endpoints) > MOST_ENDPOINTS:
        errors.append(fields.too_many("endpoints", len(endpoints), MOST_ENDPOINTS))
    else:
        for index, endpoint in enumerate(endpoints):
            errors += _endpoint(endpoint, kind, f"endpoints[{index}]")
    if len(ports) > MOST_PORTS:
        return [*errors, fields.too_many("ports", len(ports), MOST_PORTS)]
    return errors + _ports(ports)


def _endpoint(endpoint: Object, kind: str, path: str) -> list[FieldError]:
    addresses, topology = endpoint.get("addresses") or [], endpoint.get("deprecatedTopology") or {}
    errors = []
    if not addresses:
        errors.append(fields.required(f"{path}.addresses", "must contain at least 1 address"))
    elif len(addresses) > MOST_ADDRESSES:
        errors.append(fields.too_many(f"{path}.addresses", len(addresses), MOST_ADDRESSES))
    for index, address in enumerate(addresses):
        errors += _address(address, kind, f"{path}.addresses[{index}]")
    if (node := endpoint.get("nodeName")) is not None:
        errors += check(node, names.dns_subdomain(node), f"{path}.nodeName")
    if len(topology) > MOST_TOPOLOGY:
        errors.append(fields.too_many(f"{path}.deprecatedTopology", len(topology), MOST_TOPOLOGY))
    if (host := endpoint.get("hostname")) is not None:
        errors += check(host, names.dns_label(host), f"{path}.hostname")
    hints = endpoint.get("hints") or {}
    return errors + _zones(hints.get("forZones") or [], path) + _nodes(hints.get("forNodes") or [], path)


def _address(address: str, kind: str, path: str) -> list[FieldError]:
    if kind == "FQDN":
        return identifiers.fully_qualified_domain(address, path)
    if kind not in ("IPv4", "IPv6"):
        return []
    version = 4 if kind == "IPv4" else 6
    if problems := names.ip_address(address):
        return check(address, problems, path)
    if ipaddress.ip_address(address).version != version:
        return [fields.invalid(path, address, f"must be an {kind} address")]
    return identifiers.endpoint_ip(address, path)


def _zones(zones: Sequence[Object], path: str) -> list[FieldError]:
    here = f"{path}.hints.forZones"
    if len(zones) > MOST_HINTS:
        return [fields.too_many(here, len(zones), MOST_HINTS)]
    named = [zone.get("name", "") for zone in zones]
    errors = []
    for index, name in enumerate(named):
        where = f"{here}[{index}].name"
        errors += [fields.duplicate(where, name)] if name in named[:index] else []
        errors += check(name, names.label_value(name), where)
    return errors


def _nodes(nodes: Sequence[Object], path: str) -> list[FieldError]:
    here = f"{path}.hints.forNodes"
    if len(nodes) > MOST_HINTS:
        return [fields.too_many(here, len(nodes), MOST_HINTS)]
    named = [node.get("name", "") for node in nodes]
    errors = []
    for index, name in enumerate(named):
        where = f"{here}[{index}].name"
        errors += [fields.duplicate(where, name)] if name in named[:index] else []
        errors += check(name, names.dns_subdomain(name), where)
    return errors


def _ports(ports: Sequence[Object]) -> list[FieldError]:
    errors = []
    seen = set()
    for index, port in enumerate(ports):
        path = f"ports[{index}]"
        name, protocol, application = port.get("name", ""), port.get("protocol", ""), port.get("appProtocol")
        errors += check(name, names.dns_label(name) if name else [], f"{path}.name")
        errors += [fields.duplicate(f"{path}.name", name)] if name in seen else []
        seen.add(name)
        if protocol not in PROTOCOLS:
            errors.append(fields.not_supported(f"{path}.protocol", protocol, PROTOCOLS))
        if application is not None:
            errors += check(application, names.qualified_name(application), f"{path}.appProtocol")
    return errors
