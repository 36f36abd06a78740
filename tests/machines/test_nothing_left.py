"""Create and delete, again and again: no process, network namespace, mount, cgroup, tap or file more than before."""

from __future__ import annotations

import pytest
from tests.machines.inventory import inventory, wait_nothing_more
from tests.machines.platform import CLASSES, Platform, pod

pytestmark = pytest.mark.machine
AT_ONCE = 5


def come_and_go(platform: Platform, isolation_class: str, numbers: range) -> None:
    """Pods that start together, run, and are deleted together."""
    names = [f"mayfly-{isolation_class}-{number}" for number in numbers]
    platform.apply(*(pod(name, isolation_class, terminationGracePeriodSeconds=0) for name in names))
    for name in names:
        platform.wait_running(name)
    platform.kubectl("delete", "pod", *names, "--timeout=60s")


@pytest.mark.parametrize("count", [15, pytest.param(50, marks=pytest.mark.long)])
@pytest.mark.parametrize("isolation_class", CLASSES)
def test_pods_come_and_go_and_leave_nothing_behind(platform: Platform, isolation_class: str, count: int) -> None:
    for first in CLASSES:
        come_and_go(platform, first, range(1))  # may make what stays on purpose: template, image
    before = inventory(platform)
    for start in range(0, count, AT_ONCE):
        come_and_go(platform, isolation_class, range(start, start + AT_ONCE))
    wait_nothing_more(platform, before)
