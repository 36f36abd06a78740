"""Which tracked UDP connections lead to where a Service leads no more (kubernetes ``pkg/proxy/conntrack``). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.conntrack import Flow
from kontinuum.node.proxy.frontends import Frontend, frontends_of
from kontinuum.node.ruleset import Fragment


@dataclass(frozen=True, slots=True)
class UdpPort:
    """One UDP port of a Service, and the endpoints (``address . port``) that it leads to now."""

    frontend: Frontend
    endpoints: frozenset[str]


def udp_ports(service: Object, fragment: Fragment) -> list[UdpPort]:
    """The UDP ports of a Service whose rules are ``fragment``."""
    found = []
    for frontend in frontends_of(service):
        if frontend.protocol == "UDP":
            maps = (fragment.sets.get(f"endpoints-{kind}/{frontend.label}") for kind in ("cluster", "local"))
            found.append(UdpPort(frontend, frozenset(value for one in maps if one for value in one.elements.values())))
    return found


def stale(flows: Iterable[Flow], ports: Sequence[UdpPort]) -> list[Flow]:
    """The flows that go to one of ``ports`` but end elsewhere: at an endpoint that has gone, or nowhere yet."""
    by_address = {(ip, one.frontend.port): one for one in ports for ip in one.frontend.virtual_ips}
    by_node_port = {one.frontend.node_port: one for one in ports if one.frontend.node_port}
    found = []
    for flow in flows:
        port = by_address.get((flow.destination, flow.destination_port)) or by_node_port.get(flow.destination_port)
        if port is None or f"{flow.reply_source} . {flow.reply_port}" in port.endpoints:
            continue
        if port.endpoints or flow.reply_source != flow.destination:
            found.append(flow)
    return found
