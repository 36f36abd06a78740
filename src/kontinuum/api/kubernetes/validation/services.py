"""What is wrong with a Service whose addresses and ports have been given out (``pkg/apis/core/validation``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kontinuum.api.kubernetes.defaults.services import is_external, is_headless, needs_address, needs_health_check
from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.checks import one_of, problems
from kontinuum.api.kubernetes.validation.containers import PROTOCOLS
from kontinuum.api.kubernetes.validation.identifiers import cidr, endpoint_ip, is_ip
from kontinuum.api.kubernetes.validation.metadata import check_labels
from kontinuum.api.kubernetes.validation.service_addresses import validate_addresses
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object, annotations_of

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
POLICIES = ("Cluster", "Local")
DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
LONGEST_AFFINITY = 86400
"""Seconds."""
KUBELET_PORT = 10250
LOAD_BALANCER_ONLY = "may only be used when `type` is 'LoadBalancer'"
RANGES_ANNOTATION = "service.beta.kubernetes.io/load-balancer-source-ranges"
TOPOLOGY_MODE, TOPOLOGY_HINTS = "service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints"


def validate_service(service: Object) -> list[FieldError]:
    spec, annotations = service["spec"], annotations_of(service)
    ports, kind = spec.get("ports") or [], spec.get("type")
    errors = []
    mode, hints = annotations.get(TOPOLOGY_MODE), annotations.get(TOPOLOGY_HINTS)
    if mode is not None and hints is not None and mode != hints:
        problem = f"must match annotations[{TOPOLOGY_HINTS}] when both are specified"
        errors.append(fields.invalid(f"metadata.annotations[{TOPOLOGY_MODE}]", mode, problem))
    if not ports and not is_headless(spec) and kind != "ExternalName":
        errors.append(fields.required("spec.ports"))
    errors += _of_type(spec, ports)
    errors += _ports(ports)
    errors += check_labels(spec.get("selector"), "spec.selector")
    errors += _affinity(spec) + validate_addresses(spec) + _external_addresses(spec)
    errors += one_of(kind, TYPES, "spec.type")
    errors += _unique_ports(ports, kind)
    errors += _load_balancer(spec, annotations)
    return errors + _external_traffic(spec) + _internal_traffic(spec)


def validate_service_status(service: Object) -> list[FieldError]:
    errors = []
    points = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    if points and service["spec"].get("type") != "LoadBalancer":
        problem = "may only be used when `spec.type` is 'LoadBalancer'"
        return [fields.forbidden("status.loadBalancer.ingress", problem)]
    for index, point in enumerate(points):
        path = f"status.loadBalancer.ingress[{index}]"
        address, host, mode = point.get("ip") or "", point.get("hostname") or "", point.get("ipMode")
        if address:
            errors += problems(address, names.ip_address(address), f"{path}.ip")
            if mode is None:
                errors.append(fields.required(f"{path}.ipMode", "must be specified when `ip` is set"))
        elif mode is not None:
            errors.append(fields.forbidden(f"{path}.ipMode", "may not be specified when `ip` is not set"))
        if address and mode is not None and mode not in ("VIP", "Proxy"):
            errors.append(fields.not_supported(f"{path}.ipMode", mode, ["Proxy", "VIP"]))
        if host:
            errors += problems(host, names.dns_subdomain(host), f"{path}.hostname")
            if is_ip(host):
                problem = "must be a DNS name, not an IP address"
                errors.append(fields.invalid(f"{path}.hostname", host, problem))
    return errors


def _of_type(spec: Object, ports: Sequence[Object]) -> list[FieldError]:
    kind, errors = spec.get("type"), []
    if kind in ("LoadBalancer", "NodePort") and is_headless(spec):
        problem = f"may not be set to 'None' for {kind} services"
        errors.append(fields.invalid("spec.clusterIPs[0]", "None", problem))
    if kind == "LoadBalancer":
        problem = f"may not expose port {KUBELET_PORT} externally since it is used by kubelet"
        errors += [fields.invalid(f"spec.ports[{index}]", KUBELET_PORT, problem)
                   for index, port in enumerate(ports) if port.get("port") == KUBELET_PORT]  # fmt: skip
    if kind == "ExternalName":
        for name in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if spec.get(name):
                errors.append(fields.forbidden(f"spec.{name}", "may not be set for ExternalName services"))
        name = (spec.get("externalName") or "").removesuffix(".")
        wrong = problems(name, names.dns_subdomain(name), "spec.externalName")
        errors += wrong if name else [fields.required("spec.externalName")]
    return errors


def _ports(ports: Sequence[Object]) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        path = f"spec.ports[{index}]"
        name, number, protocol = port.get("name", ""), port.get("port", 0), port.get("appProtocol")
        if not name and len(ports) > 1:
            errors.append(fields.required(f"{path}.name"))
        if name:
            errors += problems(name, names.dns_label(name), f"{path}.name")
            errors += [fields.duplicate(f"{path}.name", name)] if name in seen else []
            seen.add(name)
        errors += problems(number, names.port_number(number), f"{path}.port")
        errors += one_of(port.get("protocol"), PROTOCOLS, f"{path}.protocol")
        errors += _target(port.get("targetPort", number), f"{path}.targetPort")
        if protocol is not None:
            errors += problems(protocol, names.qualified_name(protocol), f"{path}.appProtocol")
    return errors


def _target(target: Any, path: str) -> list[FieldError]:
    return problems(target, names.port_number(target) if isinstance(target, int) else names.port_name(target), path)


def _unique_ports(ports: Sequence[Object], kind: str | None) -> list[FieldError]:
    errors = []
    on_nodes, inside = set(), set()
    for index, port in enumerate(ports):
        path, number = f"spec.ports[{index}]", port.get("nodePort")
        if number and kind == "ClusterIP":
            errors.append(fields.forbidden(f"{path}.nodePort", "may not be used when `type` is 'ClusterIP'"))
        if number and (port.get("protocol"), number) in on_nodes:
            errors.append(fields.duplicate(f"{path}.nodePort", number))
        on_nodes.add((port.get("protocol"), number))
    for index, port in enumerate(ports):
        identity = port.get("protocol"), port.get("port", 0)
        if identity in inside:
            shown = {"protocol": identity[0], "port": identity[1]}
            errors.append(fields.duplicate(f"spec.ports[{index}]", shown))
        inside.add(identity)
    return errors


def _affinity(spec: Object) -> list[FieldError]:
    kind, config = spec.get("sessionAffinity"), spec.get("sessionAffinityConfig")
    path = "spec.sessionAffinityConfig"
    errors = one_of(kind, ("ClientIP", "None"), "spec.sessionAffinity")
    if kind == "None" and config is not None:
        errors.append(fields.forbidden(path, "must not be set when session affinity is None"))
    if kind != "ClientIP":
        return errors
    if config is None:
        problem = "when session affinity type is ClientIP"
        return [*errors, fields.required(path, problem)]
    seconds = (config.get("clientIP") or {}).get("timeoutSeconds")
    where = f"{path}.clientIP.timeoutSeconds"
    if seconds is None:
        return [*errors, fields.required(where, "when session affinity type is ClientIP")]
    if not 0 < seconds <= LONGEST_AFFINITY:
        problem = f"must be greater than 0 and less than {LONGEST_AFFINITY}"
        errors.append(fields.invalid(where, seconds, problem))
    return errors


def _external_addresses(spec: Object) -> list[FieldError]:
    errors = []
    for index, address in enumerate(spec.get("externalIPs") or ()):
        path = f"spec.externalIPs[{index}]"
        errors += problems(address, names.ip_address(address), path) or endpoint_ip(address, path)
    return errors


def _load_balancer(spec: Object, annotations: Object) -> list[FieldError]:
    is_balanced = spec.get("type") == "LoadBalancer"
    ranges, errors = spec.get("loadBalancerSourceRanges") or [], []
    if ranges:
        path = "spec.LoadBalancerSourceRanges"
        errors += [] if is_balanced else [fields.forbidden(path, LOAD_BALANCER_ONLY)]
        errors += [error for index, one in enumerate(ranges) for error in cidr(one.strip(), f"{path}[{index}]")]
    elif RANGES_ANNOTATION in annotations:
        path, text = f"metadata.annotations[{RANGES_ANNOTATION}]", annotations[RANGES_ANNOTATION].strip()
        errors += [] if is_balanced else [fields.forbidden(path, LOAD_BALANCER_ONLY)]
        errors += [error for one in text.split(",") for error in cidr(one.strip(), path)] if text else []
    allocates, cls = spec.get("allocateLoadBalancerNodePorts"), spec.get("loadBalancerClass")
    if allocates is not None and not is_balanced:
        errors.append(fields.forbidden("spec.allocateLoadBalancerNodePorts", LOAD_BALANCER_ONLY))
    if allocates is None and is_balanced:
        errors.append(fields.required("allocateLoadBalancerNodePorts"))
    if cls is not None and is_balanced:
        errors += problems(cls, names.qualified_name(cls), "spec.loadBalancerClass")
    elif cls is not None:
        errors.append(fields.forbidden("spec.loadBalancerClass", LOAD_BALANCER_ONLY))
    return errors


def _external_traffic(spec: Object) -> list[FieldError]:
    policy, port = spec.get("externalTrafficPolicy") or "", spec.get("healthCheckNodePort") or 0
    path, errors = "spec.externalTrafficPolicy", []
    if is_external(spec):
        errors += one_of(policy, POLICIES, path)
    elif policy:
        errors.append(fields.invalid(path, policy, "may only be set for externally-accessible services"))
    path = "spec.healthCheckNodePort"
    if not needs_health_check(spec):
        problem = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        return [*errors, fields.invalid(path, port, problem)] if port else errors
    return errors + (problems(port, names.port_number(port), path) if port else [fields.required(path)])


def _internal_traffic(spec: Object) -> list[FieldError]:
    policy, distribution = spec.get("internalTrafficPolicy"), spec.get("trafficDistribution")
    errors = one_of(policy, POLICIES, "spec.internalTrafficPolicy", required=needs_address(spec))
    if distribution is not None and distribution not in DISTRIBUTIONS:
        errors.append(fields.not_supported("spec.trafficDistribution", distribution, DISTRIBUTIONS))
    return errors
