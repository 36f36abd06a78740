"""Which pods stand behind a Service, and how each is told of (kubernetes ``pkg/controller/util/endpoint``)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from kontinuum.api.machinery.objects import Object, labels_of, name_of, namespace_of, uid_of
from kontinuum.controllers.lib.pods import is_finished, is_leaving, is_ready, node_of

ZONE = "topology.kubernetes.io/zone"
HEADLESS_LABEL = "service.kubernetes.io/headless"
FAMILIES = {"IPv4": 4, "IPv6": 6}


def is_selecting(service: Object) -> bool:
    """Somebody has to find its pods: it names them, and has an address that is not merely another name."""
    spec = service.get("spec") or {}
    return bool(spec.get("selector")) and spec.get("type") != "ExternalName"


def is_headless(service: Object) -> bool:
    return (service.get("spec") or {}).get("clusterIP") == "None"


def selects(service: Object, pod: Object) -> bool:
    selector = (service.get("spec") or {}).get("selector") or {}
    return bool(selector) and selector.items() <= labels_of(pod).items()


def selecting(services: Iterable[Object], pod: Object, old: Object | None) -> list[Object]:
    """The services that a pod's change is news for: those that select it, or did before."""
    versions = [one for one in (pod, old) if one is not None]
    return [service for service in services if any(selects(service, version) for version in versions)]


def addresses_of(pod: Object, family: str) -> list[str]:
    """The pod's addresses of an address family (``IPv4`` or ``IPv6``)."""
    status = pod.get("status") or {}
    found = [one["ip"] for one in status.get("podIPs") or ()] or [status["podIP"]] if status.get("podIP") else []
    return [one for one in found if ipaddress.ip_address(one).version == FAMILIES[family]]


def is_reachable(pod: Object) -> bool:
    """It has an address, and its containers may still answer."""
    return bool((pod.get("status") or {}).get("podIP")) and not is_finished(pod)


def ports_of(service: Object, pod: Object) -> list[Object]:
    """The service's ports as this pod offers them; those that it does not offer by name are left out."""
    found: list[Object] = []
    for port in (service.get("spec") or {}).get("ports") or ():
        number = _target(port, pod)
        if number is None:
            continue
        one = {"name": port.get("name", ""), "port": number, "protocol": port.get("protocol", "TCP")}
        if port.get("appProtocol"):
            one["appProtocol"] = port["appProtocol"]
        found.append(one)
    return found


def _target(port: Object, pod: Object) -> int | None:
    target = port.get("targetPort") or port["port"]
    if isinstance(target, int):
        return target
    spec = pod.get("spec") or {}
    sidecars = [one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"]
    for container in (*(spec.get("containers") or ()), *sidecars):
        for offered in container.get("ports") or ():
            if offered.get("name") == target and offered.get("protocol", "TCP") == port.get("protocol", "TCP"):
                return int(offered["containerPort"])
    return None


def endpoint_of(service: Object, pod: Object, *, zone: str, family: str) -> Object:
    """The pod as an EndpointSlice tells of it; ``zone`` is its node's, "" if that has none."""
    spec = service.get("spec") or {}
    serving, leaving = is_ready(pod), is_leaving(pod)
    ready = bool(spec.get("publishNotReadyAddresses")) or (serving and not leaving)
    found: Object = {
        "addresses": addresses_of(pod, family),
        "conditions": {"ready": ready, "serving": serving, "terminating": leaving},
        "targetRef": target_of(pod),
    }
    if node_of(pod):
        found["nodeName"] = node_of(pod)
    if zone:
        found["zone"] = zone
    if hostname_of(service, pod):
        found["hostname"] = hostname_of(service, pod)
    hints = _hints(spec.get("trafficDistribution", ""), node=node_of(pod), zone=zone)
    if hints and ready:
        found["hints"] = hints
    return found


def target_of(pod: Object) -> Object:
    return {"kind": "Pod", "namespace": namespace_of(pod), "name": name_of(pod), "uid": uid_of(pod)}


def hostname_of(service: Object, pod: Object) -> str:
    """The name by which DNS knows the pod beside its service: only if the pod says that it belongs to it."""
    spec = pod.get("spec") or {}
    hostname: str = spec.get("hostname") or ""
    return hostname if spec.get("subdomain") == name_of(service) else ""


def _hints(distribution: str, *, node: str, zone: str) -> Object:
    """Whom the endpoint should serve first (KEP-4444, KEP-3015): those of its zone, or of its node."""
    hints: Object = {}
    if distribution in ("PreferClose", "PreferSameZone", "PreferSameNode") and zone:
        hints["forZones"] = [{"name": zone}]
    if distribution == "PreferSameNode" and node:
        hints["forNodes"] = [{"name": node}]
    return hints


def families_of(service: Object, pods: Sequence[Object]) -> list[str]:
    """The address families that the service serves; for one from before that was said, those of its pods."""
    spec = service.get("spec") or {}
    told = list(spec.get("ipFamilies") or ())
    if told:
        return told
    return [family for family in FAMILIES if any(addresses_of(pod, family) for pod in pods)] or ["IPv4"]
