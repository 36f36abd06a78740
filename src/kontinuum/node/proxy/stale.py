"""Which tracked UDP connections lead to where a Service leads no more (kubernetes ``pkg/proxy/conntrack``). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.conntrack import Flow
from kontinuum.node.proxy.endpoints import endpoints_of
from kontinuum.node.proxy.frontends import Frontend, frontends_of


@dataclass(frozen=True, slots=True)
class UdpPort:
    """One UDP port of a Service, and the endpoints (``address . port``) that may keep whom they talk to."""

    frontend: Frontend
    endpoints: frozenset[str]


def udp_ports(service: Object, slices: Sequence[Object]) -> list[UdpPort]:
    """The UDP ports of a Service, whose endpoints ``slices`` tell of.

    As with TCP, who talks already goes on: with an endpoint on its way out that still serves, and with one to which
    policies or hints would not lead anybody from here. While nobody serves, with one that is there.
    """
    found = []
    for frontend in frontends_of(service):
        if frontend.protocol == "UDP":
            every = endpoints_of(
                slices, port=frontend.name, protocol=frontend.protocol, family=frontend.family, node=""
            )
            serving = [one for one in every if one.is_ready or one.is_serving]
            found.append(UdpPort(frontend, frozenset(one.key for one in serving or every)))
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
