"""Networks that two test runs on one machine do not both take."""

from __future__ import annotations

import os


def own_network() -> str:
    """A pod network that another test run on this machine is unlikely to have."""
    return f"10.{100 + os.getpid() % 100}.{os.getpid() // 100 % 256}.0/24"


def own_services() -> str:
    """Addresses of Services, likewise."""
    return f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 256}.0/24"
