"""What pods' network needs of the host besides CNI: forwarding, and an interface that holds the node's own addresses.

    pod ── veth ── host ── veth ── pod        each pod's packets pass the host's routing, so its packet filter sees all
                    │
            10.244.0.1 (this node), 10.244.0.2 (DNS), route to the Services' addresses

The interface is a bridge without ports, which every kernel has. The packet filter's rules are ``connectivity``'s.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

from kontinuum.foundation import process
from kontinuum.foundation.addresses import has_interface
from kontinuum.node.overlay import kernel
from kontinuum.node.settings import NodeSettings

FORWARDING = {
    4: Path("/proc/sys/net/ipv4/ip_forward"),
    6: Path("/proc/sys/net/ipv6/conf/all/forwarding"),
}
ALREADY_THERE = "File exists"


def table(settings: NodeSettings) -> str:
    """Family and name of our table in the packet filter."""
    return f"inet kontinuum_{settings.instance}"


def commands(settings: NodeSettings, *, is_there: bool) -> str:
    """What ``ip -batch`` is told, to make the interface or bring it up to date."""
    name = settings.interface_name
    lines = [] if is_there else [f"link add name {name} type bridge"]
    lines.append(f"link set dev {name} up")
    for address in (*settings.gateways, *settings.dns_addresses):
        version = ipaddress.ip_address(address).version
        lines.append(f"address replace {address}/{'32' if version == 4 else '128 nodad'} dev {name}")
    # Without a route of their own, Services' addresses would be unreachable from a host that has no default route, and
    # packets to them would leave with a source address to which pods of other hosts may have no way back.
    lines += [f"route replace {network} dev {name}" for network in settings.service_networks]
    return "\n".join(lines) + "\n"


async def prepare(settings: NodeSettings) -> None:
    """Let the host forward packets, and give it its addresses towards pods. Safe to repeat.

    Raises process.ProgramFailed and OSError.
    """
    for version in {ipaddress.ip_network(network).version for network in settings.pod_networks}:
        if FORWARDING[version].read_text().strip() != "1":
            FORWARDING[version].write_text("1")
    is_there = has_interface(settings.interface_name)
    try:
        await _batch(commands(settings, is_there=is_there))
    except process.ProgramFailed as error:
        # The agent and the network part start side by side, and both may have found nothing.
        if is_there or ALREADY_THERE not in error.stderr:
            raise
        await _batch(commands(settings, is_there=True))


async def remove(settings: NodeSettings) -> None:
    """Take back the rules, the interface and the ways to other nodes; what is absent is no error."""
    await kernel.remove(settings)
    await process.run("nft", "delete", "table", *table(settings).split(), check=False)
    await process.run("ip", "link", "delete", settings.interface_name, check=False)


async def _batch(lines: str) -> None:
    await process.run("ip", "-batch", "-", stdin=lines.encode())
