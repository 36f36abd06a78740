"""Machine tests share one running platform where they can: bringing one up is fast, but not free."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.machines.platform import Platform, processes, wait_until


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def own_network() -> str:
    """A pod network that another test run on this machine is unlikely to have."""
    return f"10.{100 + os.getpid() % 100}.{os.getpid() // 100 % 256}.0/24"


def own_services() -> str:
    """Addresses of Services, likewise."""
    return f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 256}.0/24"


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    """A platform of this test run's own: its data directory, ports and pod network touch nobody else's."""
    with tempfile.TemporaryDirectory(prefix="kontinuum-test-") as directory:
        data_dir = Path(directory) / "data"
        settings = Path(directory) / "settings.yaml"
        node = {"pod_cidr": own_network()}
        server = {"service_cidrs": own_services()}
        settings.write_text(yaml.safe_dump({"node": node, "server": server}))
        running = Platform(data_dir)
        running.kontinuum("up", "--detach", "--listen", f"127.0.0.1:{free_port()}", "--config", str(settings))
        instance = Path(running.status()["runDir"]).name
        try:
            yield running
        finally:
            running.kontinuum("down")
            running.kontinuum("reset", "--yes")
        # Whatever the pods were. A process that was killed may take a moment to be gone.
        wait_until("nothing of the platform to run on", lambda: not processes(instance))
