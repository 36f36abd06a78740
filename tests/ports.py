"""Ports for servers that need to know theirs before they start."""

from __future__ import annotations

import random
import socket

LOWEST, HIGHEST = 10_000, 32_000
"""Below those that the kernel gives to whoever connects somewhere: on a busy machine one of these is soon taken."""


def free_ports(count: int) -> list[int]:
    """Different ports of the loopback on which nobody listens."""
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(LOWEST, HIGHEST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


def free_port() -> int:
    return free_ports(1)[0]
