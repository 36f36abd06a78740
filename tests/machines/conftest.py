"""Machine tests share one running platform where they can: bringing one up is fast, but not free."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.machines.platform import Platform, processes, wait_until


def own_network() -> str:
    """A pod network that another test run on this machine is unlikely to have."""
    return f"10.{100 + os.getpid() % 100}.{os.getpid() // 100 % 256}.0/24"


def own_services() -> str:
    """Addresses of Services, likewise."""
    return f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 256}.0/24"


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform of this test run's own: its data directory, ports and pod network touch nobody else's."""
    running = Platform(tmp_path_factory.mktemp("platform") / "data")
    with running.removed_at_the_end():
        running.up(node={"pod_cidr": own_network()}, server={"service_cidrs": own_services()})
        instance = Path(running.status()["runDir"]).name
        yield running
    # Whatever the pods were. A process that was killed may take a moment to be gone.
    wait_until("nothing of the platform to run on", lambda: not processes(instance))
