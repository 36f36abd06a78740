"""Create and delete, again and again: no process, network namespace, mount, cgroup, tap or file more than before."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from tests.machines.inventory import inventory, wait_nothing_more
from tests.machines.platform import CLASSES, Platform, pod

pytestmark = pytest.mark.machine
AT_ONCE = 5
"""Of each class."""
PATIENCE = 240.0


def come_and_go(platform: Platform, numbers: Mapping[str, range]) -> None:
    """Pods of each class that start together, run, and are deleted together."""
    names = {f"mayfly-{one}-{number}": one for one, those in numbers.items() for number in those}
    platform.apply(*(pod(name, one, terminationGracePeriodSeconds=0) for name, one in names.items()))
    for name in names:
        platform.wait_running(name, seconds=PATIENCE)
    platform.kubectl("delete", "pod", *names, "--timeout=100s")


@pytest.fixture(scope="module")
def used(platform: Platform) -> Platform:
    """A platform that has run a pod of each class: what stays on purpose is there, such as images and templates."""
    come_and_go(platform, {one: range(1) for one in CLASSES})
    return platform


@pytest.mark.parametrize("rounds", [2, pytest.param(10, marks=pytest.mark.long)])
def test_pods_come_and_go_and_leave_nothing_behind(used: Platform, rounds: int) -> None:
    before = inventory(used)
    for number in range(rounds):
        come_and_go(used, {one: range(number * AT_ONCE, (number + 1) * AT_ONCE) for one in CLASSES})
    wait_nothing_more(used, before)


def test_pods_whose_program_does_not_exist_leave_nothing_behind(used: Platform) -> None:
    before = inventory(used)
    names = {f"stillborn-{one}-{number}": one for one in CLASSES for number in range(2)}
    nothing = {"container": {"command": ["/no/such/command"]}, "restartPolicy": "Never"}
    used.apply(*(pod(name, one, **nothing) for name, one in names.items()))
    for name in names:
        used.wait_event(name, "Failed", seconds=PATIENCE)
    used.kubectl("delete", "pod", *names, "--timeout=100s")
    wait_nothing_more(used, before)
