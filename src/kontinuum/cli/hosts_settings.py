"""What may be decided about several hosts on one machine."""

from __future__ import annotations

import ipaddress

import msgspec

from kontinuum.foundation.addresses import check_network, nth_address


class HostsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """For development and tests: this machine is the first host, the others are made of namespaces."""

    count: int = 1
    """How many hosts there are, this machine included. ``--nodes`` sets it too."""
    network: str = "10.245.0.0/24"
    """The IPv4 network of the wire that joins them; this machine has its first address."""

    def __post_init__(self) -> None:
        check_network("network", self.network)
        network = ipaddress.ip_network(self.network)
        if network.version != 4:
            raise ValueError(f"network: {self.network} is not an IPv4 network")
        if not 1 <= self.count < network.num_addresses - 1:
            raise ValueError(f"count: {self.count} hosts do not fit into {self.network}")

    @property
    def prefix(self) -> int:
        return ipaddress.ip_network(self.network).prefixlen

    def address_of(self, number: int) -> str:
        """That of the first host, this machine, has the number 1."""
        return nth_address(self.network, number)
