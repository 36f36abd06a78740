"""The kernel's tables of routes, neighbours and tunnels' ends, read and written by iproute2."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

from kontinuum.foundation import process
from kontinuum.foundation.errors import Retryable
from kontinuum.node.overlay.ways import (
    HEADERS,
    PROTOCOL,
    Changes,
    Ground,
    device,
    hardware_address,
    metric,
    overlay_id,
)  # fmt: skip
from kontinuum.node.settings import NodeSettings

USUAL_MTU = 1500


class WaysRefused(Retryable):
    """The kernel did not take all of what it was told."""


async def ground(settings: NodeSettings) -> Ground:
    """What there is now. Raises ProgramFailed."""
    tunnel = device(settings)
    own = (tunnel, settings.interface_name, "lo")
    near, has_tunnel = [], False
    for link in await _json("ip", "-json", "address", "show"):
        has_tunnel = has_tunnel or link["ifname"] == tunnel
        if link["ifname"] not in own:
            near += [
                str(ipaddress.ip_network(f"{one['local']}/{one['prefixlen']}", strict=False))
                for one in link.get("addr_info") or ()
                if one.get("scope") == "global"
            ]
    routes = {}
    for family in ("-4", "-6"):
        for route in await _json("ip", family, "-json", "route", "show", "proto", str(PROTOCOL)):
            if route.get("metric") == metric(settings):
                routes[_whole(route["dst"])] = (route.get("gateway", ""), route.get("dev") == tunnel)
    if not has_tunnel:
        return Ground(tuple(near), routes)
    neighbours = await _json("ip", "-json", "neighbour", "show", "dev", tunnel, "nud", "permanent")
    ends = await _json("bridge", "-json", "fdb", "show", "dev", tunnel)
    return Ground(
        tuple(near),
        routes,
        {one["dst"]: one["lladdr"] for one in neighbours if "lladdr" in one},
        {one["mac"]: one["dst"] for one in ends if "dst" in one},
    )


async def prepare_tunnel(settings: NodeSettings, address: str) -> None:
    """Make the tunnels' interface, or make it anew if this node has another address now. Raises ProgramFailed."""
    name, mtu = device(settings), await _tunnel_mtu(address)
    wanted = {"id": overlay_id(settings), "port": settings.overlay_port, _local(address): address}
    found = await _json("ip", "-json", "-details", "link", "show", name, check=False)
    if found:
        has = found[0].get("linkinfo", {}).get("info_data") or {}
        if all(has.get(key) == value for key, value in wanted.items()) and found[0].get("mtu") == mtu:
            return
        await process.run("ip", "link", "delete", name)
    lines = [
        f"link add {name} mtu {mtu} address {hardware_address(address)} type vxlan id {overlay_id(settings)} "
        f"dstport {settings.overlay_port} local {address} nolearning",
        f"link set {name} up",
    ]
    # What is masqueraded into a tunnel needs an address there.
    lines += [f"address replace {one}/{'128 nodad' if ':' in one else '32'} dev {name}" for one in settings.gateways]
    await process.run("ip", "-batch", "-", stdin=_lines(lines))


async def apply(changes: Changes) -> None:
    """Carry out what can be; raises WaysRefused with what could not."""
    problems = []
    for program, lines in (("bridge", changes.bridge), ("ip", changes.ip)):
        if lines:
            done = await process.run(program, "-force", "-batch", "-", stdin=_lines(lines), check=False)
            if done.code != 0:
                problems.append(process.last_words(done.stderr))
    if problems:
        raise WaysRefused("; ".join(problems))


async def remove(settings: NodeSettings) -> None:
    """Take everything back; what is absent is no error."""
    await process.run("ip", "link", "delete", device(settings), check=False)
    for family in ("-4", "-6"):
        words = ("route", "flush", "proto", str(PROTOCOL), "metric", str(metric(settings)))
        await process.run("ip", family, *words, check=False)


async def _tunnel_mtu(address: str) -> int:
    """As large as fits into a packet of the interface that has the node's address."""
    for link in await _json("ip", "-json", "address", "show"):
        if any(one.get("local") == address for one in link.get("addr_info") or ()):
            return int(link["mtu"]) - HEADERS[ipaddress.ip_address(address).version]
    return USUAL_MTU - HEADERS[ipaddress.ip_address(address).version]


def _local(address: str) -> str:
    return "local6" if ":" in address else "local"


def _whole(destination: str) -> str:
    """``ip`` leaves the length out where it is the whole address."""
    return str(ipaddress.ip_network(destination))


def _lines(lines: tuple[str, ...] | list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()


async def _json(*command: str, check: bool = True) -> list[dict[str, Any]]:
    done = await process.run(*command, check=check)
    found: list[dict[str, Any]] = json.loads(done.stdout or b"[]")
    # Older versions print an empty object for what they have filtered out.
    return [one for one in found if one]
