"""What holds for every test."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator
from functools import cache
from pathlib import Path, PurePath

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling, Scheduling

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("kontinuum", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kontinuum")

OFTEN_ENOUGH = 10_000
"""So many objects more than before are looked at for cycles; with Python's own 700 that is a fifth of the run."""


ON_THE_PLATFORM = {"test_bad_input", "test_killed_parts", "test_nothing_left", "test_one_api", "test_ways_into_pods"}
"""Files of tests/machines that share a platform."""
LONGEST = (
    "pods", "platform", "conformance on etcd", "shim", "node", "test_etcd_faults", "test_killed_servers",
    "test_several_hosts", "test_up_and_down", "test_several_servers", "test_etcd_faults_at_the_api", "vm",
)  # fmt: skip
"""What takes longest of the machine tests, the longest first: one that began last would be waited for alone."""


def together(nodeid: str) -> str:
    """Of tests that stay together in one process, by what they share, this answers the same name.

    Those of one file do, and those that share a platform, a cluster on one store, or the addresses of a node.
    """
    file, _, case = nodeid.partition("::")
    name, directory = PurePath(file).stem, PurePath(file).parent.name
    if directory == "conformance":
        return f"{directory} on etcd" if "etcd" in case.partition("[")[2] else directory
    if directory == "machines":
        _, kind, *_ = name.split("_")
        return "platform" if name in ON_THE_PLATFORM else kind if kind in ("node", "shim", "vm") else name
    return directory if directory == "pods" else name if name in LONGEST else file


class Together(LoadScopeScheduling):
    """Divides a run among processes (``--dist loadscope``) in the order in which the tests were collected."""

    def _split_scope(self, nodeid: str) -> str:
        return together(nodeid)


@cache
def is_looked_at_for_machine_tests(file: Path) -> bool:
    """Whether ``make test-machines`` collects it: it greps for the mark, and takes two directories whole."""
    return not {"machines", "conformance"}.isdisjoint(file.parts) or "mark.machine" in file.read_text()


def begins_at(config: pytest.Config) -> float:
    """Which part of a directory this process leaves for the end (0 to 1), where it is one of several that collect all.

    They would all rewrite the assertions of the same file at the same time, which is most of collecting for the first
    time. Since each begins elsewhere, it finds most files rewritten by another.
    """
    number = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return int(number) / int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) if len(config.args) == 1 else 0.0


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if isinstance(collector, pytest.Directory) and report.result:
        first = int(len(report.result) * begins_at(collector.config))
        report.result = report.result[first:] + report.result[:first]
    return report


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    if begins_at(config):
        items.sort(key=lambda item: item.path.parts)
    for item in items:
        if item.get_closest_marker("machine") and not is_looked_at_for_machine_tests(item.path):
            raise pytest.UsageError(f"{item.nodeid} would never run: write its mark into its file (see Makefile)")
    yield
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(together(item.nodeid), len(ranks)))


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: it is not looked through for garbage again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(OFTEN_ENOUGH, 10, 10)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    if config.getoption("dist") != "loadscope":
        return None
    config.option.loadscopereorder = False  # It would begin with what has most tests.
    return Together(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "record what each isolation class could do, for the tables in README.md and docs/how-to/classes.md"
    parser.addoption("--matrix", action="store_true", help=text)
