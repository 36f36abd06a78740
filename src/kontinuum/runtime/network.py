"""The pod's network for a machine: CNI made a veth in the pod's namespace, we hand what it carries to a tap.

    host ── veth ═ eth0 ⇄ (tc: whatever arrives at one leaves by the other) ⇄ tap ── virtio-net in the machine

The machine takes over eth0's MAC, addresses and routes, so that CNI plugins, policies and bandwidth limits on the host
side work as they do for a container. The tap lives as long as a descriptor of it is open: nothing to clean up.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kontinuum.foundation.errors import Retryable
from kontinuum.foundation.network_namespace import inside
from kontinuum.runtime import taps
from kontinuum.runtime.guest.port import Interface
from kontinuum.runtime.netlink import Link, Netlink, NetlinkFailed
from kontinuum.runtime.taps import Apart

_LINK_LOCAL = "fe80:"


class NetworkNotReady(Retryable):
    """The pod's network namespace holds no interface that a machine could take over."""


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """A tap to give to the VMM (the receiver closes it; None: it has it), and what the guest must be told."""

    tap: int | None
    interface: Interface


def join(namespace: Path, tap: Apart | None = None) -> PodNetwork:
    """Put a tap beside the pod's interface and join the two. A few milliseconds; blocks. ``tap`` is one that a machine
    has already; otherwise a new one is opened.

    Raises NetworkNotReady, NetlinkFailed, or OSError if the namespace is gone.
    """
    if tap is not None:
        tap.move(namespace)
    with inside(namespace), Netlink() as netlink:
        link = _pod_link(netlink)
        interface = _interface(netlink, link)
        descriptor = taps.open_here() if tap is None else None if tap.descriptor is None else os.dup(tap.descriptor)
        # An earlier machine of this pod may have been joined to it, with a tap of its own.
        with suppress(NetlinkFailed):
            netlink.remove_ingress(link.index)
        try:
            _join(netlink, link, mtu=link.mtu)
        except BaseException:
            if descriptor is not None:
                os.close(descriptor)
            raise
        return PodNetwork(descriptor, interface)


def _pod_link(netlink: Netlink) -> Link:
    links = [link for link in netlink.links() if not link.is_loopback and link.name != taps.NAME and link.mac]
    with_address = [link for link in links if netlink.addresses(link.index)]
    if not with_address:
        raise NetworkNotReady(f"no interface with an address among {[link.name for link in links]}")
    # CNI calls it eth0; anybody else's first interface will do.
    return next((link for link in with_address if link.name == "eth0"), with_address[0])


def _interface(netlink: Netlink, link: Link) -> Interface:
    addresses = tuple(address for address in netlink.addresses(link.index) if not address.startswith(_LINK_LOCAL))
    routes = [route for route in netlink.routes(link.index) if not route.destination.startswith((_LINK_LOCAL, "ff00:"))]
    # Routes on the link first: the gateway of a later one must be reachable when it is added.
    routes.sort(key=lambda route: bool(route.gateway))
    return Interface(
        name="eth0",
        mac=link.mac,
        mtu=link.mtu,
        addresses=addresses,
        routes=tuple((route.destination, route.gateway) for route in routes),
    )


def _join(netlink: Netlink, link: Link, *, mtu: int) -> None:
    tap = next(one for one in netlink.links() if one.name == taps.NAME)
    netlink.bring_up(tap.index, mtu=mtu)
    for index in (link.index, tap.index):
        netlink.add_ingress(index)
    netlink.redirect(link.index, tap.index)
    netlink.redirect(tap.index, link.index)
