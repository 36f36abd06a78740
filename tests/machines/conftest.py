"""Machine tests share one running platform where they can: bringing one up is fast, but not free."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from tests.machines import kubelet
from tests.machines.networks import own_network, own_services
from tests.machines.platform import Platform, processes, wait_until

told = {""}
"""What was shown already: cases that ran side by side fail one after the other."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What the platform complains of is shown where a test of it fails: its logs are gone with it."""
    report = yield
    running = getattr(item, "funcargs", {}).get("platform")
    if report.when == "call" and report.failed and running is not None and (new := running.complaints()) not in told:
        told.add(new)
        report.sections.append(("what the platform complains of", new))
    return report


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
        running.wait_all_gone()
    # Whatever the pods were. A process that was killed may take a moment to be gone.
    wait_until("nothing of the platform to run on", lambda: not processes(instance))
