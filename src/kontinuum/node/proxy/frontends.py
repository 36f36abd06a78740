"""What a Service says about how it is reached: its ports, addresses and policies, as the proxy reads them. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from kontinuum.api.machinery.objects import Object, name_of, namespace_of

DEFAULT_STICKY_SECONDS = 10800
PROTOCOLS = ("TCP", "UDP", "SCTP")


@dataclass(frozen=True, slots=True)
class Frontend:
    """One port of a Service in one address family, and every address at which it is offered."""

    namespace: str
    service: str
    name: str
    """The port's name; "" if it is the only one and has none."""
    protocol: str
    port: int
    family: int
    """4 or 6."""
    cluster_ip: str
    """"" if the Service has none of this family."""
    external_ips: tuple[str, ...]
    balancer_ips: tuple[str, ...]
    balancer_sources: tuple[str, ...]
    """Networks whose clients the load balancer's addresses admit; empty: everybody."""
    node_port: int
    """0 if there is none."""
    is_internal_local: bool
    is_external_local: bool
    sticky_seconds: int
    """How long a client stays with its endpoint; 0 if it need not."""

    @property
    def label(self) -> str:
        """What tells this port from all others, in letters that nft allows in names."""
        return f"{self.family}/{self.namespace}/{self.service}/{self.protocol.lower()}/{self.name}".rstrip("/")

    @property
    def is_external(self) -> bool:
        """Whether anybody from outside the cluster may come."""
        return bool(self.external_ips or self.balancer_ips or self.node_port)

    @property
    def virtual_ips(self) -> tuple[str, ...]:
        """The addresses that exist only by our rules."""
        own = (self.cluster_ip,) if self.cluster_ip else ()
        return tuple(dict.fromkeys((*own, *self.external_ips, *self.balancer_ips)))


def is_proxied(service: Object) -> bool:
    """Whether it has an address of its own for us to serve, and has not been left to another proxy."""
    spec, labels = service.get("spec") or {}, service["metadata"].get("labels") or {}
    return (
        spec.get("type") != "ExternalName"
        and spec.get("clusterIP") not in (None, "", "None")
        and "service.kubernetes.io/service-proxy-name" not in labels
    )


def frontends_of(service: Object) -> list[Frontend]:
    """One for each port and address family; nothing for a headless Service or another name."""
    if not is_proxied(service):
        return []
    spec = service["spec"]
    cluster_ips = spec.get("clusterIPs") or [spec["clusterIP"]]
    versions = {ipaddress.ip_address(one).version: one for one in cluster_ips}
    ingress = [
        one["ip"]
        for one in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
        if one.get("ip") and one.get("ipMode", "VIP") == "VIP"
    ]
    is_balanced = spec.get("type") == "LoadBalancer"
    sticky = spec.get("sessionAffinity") == "ClientIP"
    config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    return [
        Frontend(
            namespace=namespace_of(service),
            service=name_of(service),
            name=port.get("name") or "",
            protocol=port.get("protocol") or "TCP",
            port=port["port"],
            family=family,
            cluster_ip=str(ipaddress.ip_address(cluster_ip)),
            external_ips=_of_family(spec.get("externalIPs") or (), family),
            balancer_ips=_of_family(ingress, family) if is_balanced else (),
            balancer_sources=_of_family(spec.get("loadBalancerSourceRanges") or (), family) if is_balanced else (),
            node_port=int(port.get("nodePort") or 0) if spec.get("type") in ("NodePort", "LoadBalancer") else 0,
            is_internal_local=spec.get("internalTrafficPolicy") == "Local",
            is_external_local=spec.get("externalTrafficPolicy") == "Local",
            sticky_seconds=int(config.get("timeoutSeconds") or DEFAULT_STICKY_SECONDS) if sticky else 0,
        )
        for family, cluster_ip in sorted(versions.items())
        for port in spec.get("ports") or ()
    ]


def _of_family(texts: Iterable[str], family: int) -> tuple[str, ...]:
    """Addresses and networks of one family, each once, as the kernel writes them."""
    found: dict[str, None] = {}
    for text in texts:
        network = ipaddress.ip_network(text.strip(), strict=False)
        if network.version == family:
            found[str(network) if "/" in text else str(network.network_address)] = None
    return tuple(found)
