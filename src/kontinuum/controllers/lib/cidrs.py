"""Pieces of one size, cut from a large network: given out, and taken back. No I/O."""

from __future__ import annotations

import ipaddress
from collections import Counter

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def split(text: str) -> list[str]:
    """``a,b`` as settings write several."""
    return [one.strip() for one in text.split(",") if one.strip()]


class Pieces:
    """The pieces of length ``prefix`` of ``network``. What is taken may have any size, and be taken more than once."""

    def __init__(self, network: Network, prefix: int) -> None:
        """Raises ValueError if there are no such pieces."""
        if not network.prefixlen <= prefix <= network.max_prefixlen:
            raise ValueError(f"{network} has no pieces of length /{prefix}")
        self.network = network
        self._shift = network.max_prefixlen - prefix
        self._prefix = prefix
        self._count = 1 << (prefix - network.prefixlen)
        self._taken: Counter[int] = Counter()
        self._next = 0

    def allocate(self) -> Network | None:
        """Take a free piece, the first one behind the one that was given out last; None: there is none.

        So that one that has just come back rests for as long as possible.
        """
        if len(self._taken) == self._count:
            return None
        # Of one more piece than are taken, one is free.
        for step in range(min(self._count, len(self._taken) + 1)):
            index = (self._next + step) % self._count
            if index not in self._taken:
                self._taken[index] = 1
                self._next = (index + 1) % self._count
                return self._piece(index)
        return None

    def is_taken(self, network: Network) -> bool:
        """Whether any of what ``network`` covers is."""
        return any(index in self._taken for index in self._covered(network))

    def take(self, network: Network) -> None:
        """Take what ``network`` covers of this one."""
        for index in self._covered(network):
            self._taken[index] += 1

    def release(self, network: Network) -> None:
        """Give back what was taken so."""
        for index in self._covered(network):
            self._taken[index] -= 1
            if self._taken[index] <= 0:
                del self._taken[index]

    def _covered(self, network: Network) -> range:
        if network.version != self.network.version or not network.overlaps(self.network):
            return range(0)
        base = int(self.network.network_address)
        first = max(0, int(network.network_address) - base) >> self._shift
        last = min(int(self.network.broadcast_address), int(network.broadcast_address)) - base >> self._shift
        return range(first, last + 1)

    def _piece(self, index: int) -> Network:
        address = int(self.network.network_address) + (index << self._shift)
        return type(self.network)((address, self._prefix))
