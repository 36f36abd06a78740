"""Services and Endpoints: a stable name for pods that come and go. Addresses are given out elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kontinuum.api.kubernetes.defaults.services import (
    carry_allocations,
    default_endpoints,
    default_service,
    default_status,
    drop_unneeded,
)
from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind
from kontinuum.api.kubernetes.tables import NONE, UNKNOWN, age, format_labels, joined
from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.checks import one_of, problems
from kontinuum.api.kubernetes.validation.containers import PROTOCOLS
from kontinuum.api.kubernetes.validation.identifiers import endpoint_ip
from kontinuum.api.kubernetes.validation.service_addresses import validate_address_change
from kontinuum.api.kubernetes.validation.services import validate_service, validate_service_status
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

SHOWN_ENDPOINTS = 3


class Service(Kind):
    columns = (
        NAME,
        Column("Type", description="How the Service is exposed."),
        Column("Cluster-IP", description="The Service's address inside the cluster."),
        Column("External-IP", description="The Service's addresses outside the cluster."),
        Column("Port(s)", description="The list of ports that are exposed by this service."),
        AGE,
        Column("Selector", priority=1, description="Labels of the pods that traffic is routed to."),
    )
    selectable = ("spec.clusterIP", "spec.type")

    def check_name(self, name: str) -> list[str]:
        return names.dns_1035_label(name)

    def default(self, obj: Object) -> None:
        default_service(obj)

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        obj["status"] = {"loadBalancer": {}}

    def prepare_update(self, obj: Object, old: Object) -> None:
        super().prepare_update(obj, old)
        carry_allocations(obj["spec"], old["spec"])
        drop_unneeded(obj["spec"], old["spec"])
        if obj["spec"].get("type") != "LoadBalancer" and "status" in obj:
            # Whoever becomes one again is given other addresses.
            obj["status"] = {**obj["status"], "loadBalancer": {}}

    def prepare_status_update(self, obj: Object, old: Object) -> None:
        super().prepare_status_update(obj, old)
        default_status(obj)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validate_service(obj)

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return validate_address_change(obj["spec"], old["spec"]) + validate_service(obj)

    def validate_status(self, obj: Object, old: Object) -> list[FieldError]:
        return super().validate_status(obj, old) + validate_service_status(obj)

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        return [
            obj["metadata"].get("name", ""),
            spec.get("type", ""),
            (spec.get("clusterIPs") or [spec.get("clusterIP")])[0] or NONE,
            _external(spec, obj.get("status") or {}),
            joined(_port(port) for port in spec.get("ports") or ()),
            age(obj["metadata"].get("creationTimestamp"), now),
            format_labels(spec.get("selector")),
        ]


class Endpoints(Kind):
    columns = (NAME, Column("Endpoints", description="Addresses and ports of ready pods."), AGE)

    def default(self, obj: Object) -> None:
        default_endpoints(obj)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        errors = []
        for index, subset in enumerate(obj.get("subsets") or ()):
            path = f"subsets[{index}]"
            if not subset.get("addresses") and not subset.get("notReadyAddresses"):
                errors.append(fields.required(path, "must specify `addresses` or `notReadyAddresses`"))
            for field in ("addresses", "notReadyAddresses"):
                errors += _addresses(subset.get(field) or [], f"{path}.{field}")
            errors += _ports(subset.get("ports") or [], f"{path}.ports")
        return errors

    def cells(self, obj: Object, now: float) -> list[Any]:
        shown = [
            _host_port(address.get("ip", ""), port.get("port", 0)) if port else address.get("ip", "")
            for subset in obj.get("subsets") or ()
            for port in subset.get("ports") or [None]
            for address in subset.get("addresses") or ()
        ]
        text = joined(shown[:SHOWN_ENDPOINTS], "" if obj.get("subsets") else NONE)
        if len(shown) > SHOWN_ENDPOINTS:
            text += f" + {len(shown) - SHOWN_ENDPOINTS} more..."
        return [obj["metadata"].get("name", ""), text, age(obj["metadata"].get("creationTimestamp"), now)]


def _addresses(addresses: Sequence[Object], path: str) -> list[FieldError]:
    errors = []
    for index, one in enumerate(addresses):
        here, address = f"{path}[{index}]", one.get("ip", "")
        host, node = one.get("hostname") or "", one.get("nodeName")
        errors += problems(address, names.ip_address(address), f"{here}.ip") or endpoint_ip(address, f"{here}.ip")
        errors += problems(host, names.dns_label(host) if host else [], f"{here}.hostname")
        errors += problems(node, names.dns_subdomain(node) if node is not None else [], f"{here}.nodeName")
    return errors


def _ports(ports: Sequence[Object], path: str) -> list[FieldError]:
    errors = []
    for index, port in enumerate(ports):
        here, name, number = f"{path}[{index}]", port.get("name") or "", port.get("port", 0)
        if not name and len(ports) > 1:
            errors.append(fields.required(f"{here}.name"))
        errors += problems(name, names.dns_label(name) if name else [], f"{here}.name")
        errors += problems(number, names.port_number(number), f"{here}.port")
        errors += one_of(port.get("protocol"), PROTOCOLS, f"{here}.protocol")
        protocol = port.get("appProtocol")
        errors += problems(protocol, names.qualified_name(protocol) if protocol else [], f"{here}.appProtocol")
    return errors


def _host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _port(port: Object) -> str:
    """``80/TCP`` or ``80:30080/TCP``"""
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port', 0)}{node_port}/{port.get('protocol', 'TCP')}"


def _external(spec: Object, status: Object) -> str:
    kind = spec.get("type")
    if kind == "ExternalName":
        return str(spec.get("externalName") or "")
    addresses = list(spec.get("externalIPs") or ())
    if kind in ("ClusterIP", "NodePort"):
        return joined(addresses)
    if kind != "LoadBalancer":
        return UNKNOWN
    given = (status.get("loadBalancer") or {}).get("ingress") or ()
    points = sorted({one.get("ip") or one.get("hostname", "") for one in given} - {""})
    return joined([*points, *addresses], "<pending>")
