"""Machine tests share one running platform where they can: bringing one up is fast, but not free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.machines import kubelet
from tests.machines.networks import own_network, own_services
from tests.machines.platform import Platform, processes, wait_until


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform of this test run's own: its data directory, ports and pod network touch nobody else's.

    Where ``KUBELET`` names a kubelet, it runs the pods (``make test-kubelet``).
    """
    if kubelet.PROGRAM:
        with kubelet.running(tmp_path_factory.mktemp("theirs")) as theirs:
            yield theirs.platform
        return
    running = Platform(tmp_path_factory.mktemp("platform") / "data")
    with running.removed_at_the_end():
        running.up(node={"pod_cidr": own_network()}, server={"service_cidrs": own_services()})
        instance = Path(running.status()["runDir"]).name
        yield running
    # Whatever the pods were. A process that was killed may take a moment to be gone.
    wait_until("nothing of the platform to run on", lambda: not processes(instance))
