"""Services and Endpoints: a stable name for pods that come and go. Addresses are given out elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind
from kontinuum.api.kubernetes.tables import NONE, age, format_labels, joined
from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.containers import PROTOCOLS
from kontinuum.api.kubernetes.validation.metadata import check_labels
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
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
        spec = obj.setdefault("spec", {})
        for field, value in (("type", "ClusterIP"), ("sessionAffinity", "None")):
            if not spec.get(field):
                spec[field] = value
        if spec["sessionAffinity"] == "ClientIP":
            config = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
            config.setdefault("timeoutSeconds", 10800)
        for port in spec.get("ports") or ():
            port["protocol"] = port.get("protocol") or "TCP"
            port["targetPort"] = port.get("targetPort") or port.get("port", 0)
        if spec["type"] == "ExternalName":
            return
        spec.setdefault("internalTrafficPolicy", "Cluster")
        if spec["type"] in ("NodePort", "LoadBalancer"):
            spec.setdefault("externalTrafficPolicy", "Cluster")
        if spec["type"] == "LoadBalancer":
            spec.setdefault("allocateLoadBalancerNodePorts", True)

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        obj["status"] = {"loadBalancer": {}}

    def validate_spec(self, obj: Object) -> list[FieldError]:
        spec = obj["spec"]
        errors = check_labels(spec.get("selector"), "spec.selector")
        if spec["type"] not in TYPES:
            errors.append(fields.not_supported("spec.type", spec["type"], TYPES))
        if spec["sessionAffinity"] not in ("ClientIP", "None"):
            errors.append(fields.not_supported("spec.sessionAffinity", spec["sessionAffinity"], ["ClientIP", "None"]))
        if spec["type"] == "ExternalName" and not spec.get("externalName"):
            errors.append(fields.required("spec.externalName"))
        if not spec.get("ports") and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
            errors.append(fields.required("spec.ports"))
        return errors + _ports(spec.get("ports") or [])

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        errors = self.validate_spec(obj)
        before, now = old["spec"].get("clusterIP"), obj["spec"].get("clusterIP")
        if before and now != before and "ExternalName" not in (old["spec"].get("type"), obj["spec"]["type"]):
            errors.append(fields.invalid("spec.clusterIPs[0]", [now] if now else None, "may not change once set"))
        return errors

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        return [
            obj["metadata"].get("name", ""),
            spec.get("type", ""),
            spec.get("clusterIP") or NONE,
            _external(spec, obj.get("status") or {}),
            joined(_port(port) for port in spec.get("ports") or ()),
            age(obj["metadata"].get("creationTimestamp"), now),
            format_labels(spec.get("selector")),
        ]


class Endpoints(Kind):
    columns = (NAME, Column("Endpoints", description="Addresses and ports of ready pods."), AGE)

    def default(self, obj: Object) -> None:
        for subset in obj.get("subsets") or ():
            for port in subset.get("ports") or ():
                port["protocol"] = port.get("protocol") or "TCP"

    def validate_spec(self, obj: Object) -> list[FieldError]:
        errors = []
        for index, subset in enumerate(obj.get("subsets") or ()):
            path = f"subsets[{index}]"
            if not subset.get("addresses") and not subset.get("notReadyAddresses"):
                errors.append(fields.required(path, "must specify `addresses` or `notReadyAddresses`"))
            for field in ("addresses", "notReadyAddresses"):
                errors += _addresses(subset.get(field) or [], f"{path}.{field}")
        return errors

    def cells(self, obj: Object, now: float) -> list[Any]:
        shown = [
            f"{address.get('ip', '')}:{port.get('port', 0)}" if port else address.get("ip", "")
            for subset in obj.get("subsets") or ()
            for port in subset.get("ports") or [None]
            for address in subset.get("addresses") or ()
        ]
        text = joined(shown[:SHOWN_ENDPOINTS])
        if len(shown) > SHOWN_ENDPOINTS:
            text += f" + {len(shown) - SHOWN_ENDPOINTS} more..."
        return [obj["metadata"].get("name", ""), text, age(obj["metadata"].get("creationTimestamp"), now)]


def _ports(ports: Sequence[Object]) -> list[FieldError]:
    errors: list[FieldError] = []
    seen_names, seen = set(), set()
    for index, port in enumerate(ports):
        path = f"spec.ports[{index}]"
        name, number = port.get("name", ""), port.get("port", 0)
        if not name and len(ports) > 1:
            errors.append(fields.required(f"{path}.name"))
        if name:
            errors += [fields.invalid(f"{path}.name", name, problem) for problem in names.dns_label(name)]
            errors += [fields.duplicate(f"{path}.name", name)] if name in seen_names else []
        errors += [fields.invalid(f"{path}.port", number, problem) for problem in names.port_number(number)]
        errors += _target(port.get("targetPort", number), f"{path}.targetPort")
        if port["protocol"] not in PROTOCOLS:
            errors.append(fields.not_supported(f"{path}.protocol", port["protocol"], PROTOCOLS))
        if (port["protocol"], number) in seen:
            errors.append(fields.duplicate(path, {"protocol": port["protocol"], "port": number}))
        seen_names.add(name)
        seen.add((port["protocol"], number))
    return errors


def _target(target: Any, path: str) -> list[FieldError]:
    problems = names.port_number(target) if isinstance(target, int) else names.port_name(target)
    return [fields.invalid(path, target, problem) for problem in problems]


def _addresses(addresses: Sequence[Object], path: str) -> list[FieldError]:
    return [
        fields.invalid(f"{path}[{index}].ip", address.get("ip", ""), problem)
        for index, address in enumerate(addresses)
        for problem in names.ip_address(address.get("ip", ""))
    ]


def _port(port: Object) -> str:
    """``80/TCP`` or ``80:30080/TCP``"""
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port', 0)}{node_port}/{port.get('protocol', 'TCP')}"


def _external(spec: Object, status: Object) -> str:
    if spec.get("type") == "ExternalName":
        return spec.get("externalName") or NONE
    addresses = list(spec.get("externalIPs") or ())
    if spec.get("type") == "LoadBalancer":
        given = (status.get("loadBalancer") or {}).get("ingress") or ()
        addresses = [one.get("ip") or one.get("hostname", "") for one in given] + addresses
        return joined(addresses, "<pending>")
    return joined(addresses)
