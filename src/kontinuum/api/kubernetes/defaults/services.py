"""Defaults of Services and Endpoints, and what a Service's fields follow from its type."""

from __future__ import annotations

from kontinuum.api.kubernetes.defaults.pods import fill
from kontinuum.api.machinery.objects import Object

AFFINITY_SECONDS = 10800
ADDRESSED = ("ClusterIP", "NodePort", "LoadBalancer")


def needs_address(spec: Object) -> bool:
    return spec.get("type") in ADDRESSED


def needs_node_port(spec: Object) -> bool:
    """Whether each port is given a port of every node."""
    if spec.get("type") == "LoadBalancer":
        return spec.get("allocateLoadBalancerNodePorts") is not False
    return spec.get("type") == "NodePort"


def needs_health_check(spec: Object) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def is_external(spec: Object) -> bool:
    """Traffic may come from outside the cluster."""
    kind = spec.get("type")
    return kind in ("LoadBalancer", "NodePort") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def is_headless(spec: Object) -> bool:
    return (spec.get("clusterIPs") or [spec.get("clusterIP")]) == ["None"]


def default_service(service: Object) -> None:
    spec = service.setdefault("spec", {})
    fill(spec, type="ClusterIP", sessionAffinity="None")
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    if spec["sessionAffinity"] == "ClientIP":
        config = spec.get("sessionAffinityConfig") or {}
        client = config.get("clientIP") or {}
        spec["sessionAffinityConfig"] = {**config, "clientIP": {"timeoutSeconds": AFFINITY_SECONDS, **client}}
    for port in spec.get("ports") or ():
        fill(port, protocol="TCP")
        port["targetPort"] = port.get("targetPort") or port.get("port", 0)
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    if is_external(spec):
        fill(spec, externalTrafficPolicy="Cluster")
    if needs_address(spec):
        fill(spec, internalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    default_status(service)


def default_status(service: Object) -> None:
    """A load balancer that does not say how it passes packets on keeps their destination."""
    for point in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
        if point.get("ip"):
            fill(point, ipMode="VIP")


def default_endpoints(endpoints: Object) -> None:
    for subset in endpoints.get("subsets") or ():
        for port in subset.get("ports") or ():
            fill(port, protocol="TCP")


def carry_allocations(spec: Object, old: Object) -> None:
    """What was given out stays when an update leaves it open, so that a manifest can be applied again."""
    if needs_address(old) and needs_address(spec):
        for name in ("clusterIP", "clusterIPs"):
            if not spec.get(name) and old.get(name):
                spec[name] = old[name]
    if needs_node_port(old) and needs_node_port(spec):
        _carry_node_ports(spec, old)
    if needs_health_check(old) and needs_health_check(spec) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = old.get("healthCheckNodePort", 0)
    _follow_first_address(spec, old)


def _carry_node_ports(spec: Object, old: Object) -> None:
    """Ports are known by their names; a number that the update uses elsewhere is not given back to its old place."""
    taken = {port.get("nodePort") for port in spec.get("ports") or ()}
    kept = {port.get("name", ""): port.get("nodePort") for port in old.get("ports") or ()}
    for port in spec.get("ports") or ():
        number = kept.get(port.get("name", ""))
        if not port.get("nodePort") and number and number not in taken:
            port["nodePort"] = number


def _follow_first_address(spec: Object, old: Object) -> None:
    """Older clients know ``clusterIP`` only: where they change it, ``clusterIPs`` follows."""
    if (old.get("clusterIP") or "") == (spec.get("clusterIP") or ""):
        return
    if (old.get("clusterIPs") or []) != (spec.get("clusterIPs") or []):
        return
    if spec.get("clusterIP"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    else:
        spec.pop("clusterIPs", None)


def drop_unneeded(spec: Object, old: Object) -> None:
    """Another type makes some fields meaningless. Those that the user did not touch go by themselves."""
    if needs_address(old) and not needs_address(spec):
        if _is_same(spec, old, "clusterIPs"):
            _drop(spec, "clusterIP", "clusterIPs")
        for name in ("ipFamilies", "ipFamilyPolicy"):
            if _is_same(spec, old, name):
                _drop(spec, name)
    if needs_node_port(old) and not needs_node_port(spec) and _node_ports(spec) == _node_ports(old):
        for port in spec.get("ports") or ():
            _drop(port, "nodePort")
    if needs_health_check(old) and not needs_health_check(spec) and _is_same(spec, old, "healthCheckNodePort"):
        _drop(spec, "healthCheckNodePort")
    if old.get("type") == "LoadBalancer" and spec.get("type") != "LoadBalancer":
        for name in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if _is_same(spec, old, name):
                _drop(spec, name)
    if is_external(old) and not is_external(spec) and _is_same(spec, old, "externalTrafficPolicy"):
        _drop(spec, "externalTrafficPolicy")


def _node_ports(spec: Object) -> set[int]:
    return {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}


def _is_same(spec: Object, old: Object, name: str) -> bool:
    return (spec.get(name) or None) == (old.get(name) or None)


def _drop(obj: Object, *names: str) -> None:
    for name in names:
        obj.pop(name, None)
