"""What holds for every test."""

from __future__ import annotations

from pathlib import PurePath

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling, Scheduling

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("kontinuum", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kontinuum")


class Together(LoadScopeScheduling):
    """Which tests stay together, in one of the processes among which a run is divided (``--dist loadscope``).

    Those of one file do. All of tests/machines do, and all of tests/machines/pods, because each of these directories
    shares a platform and fills a processor; and all of tests/conformance on one store, because they share its cluster.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, case = nodeid.partition("::")
        directory = PurePath(file).parent.name
        if directory == "conformance":
            return f"{directory} on etcd" if "etcd" in case.partition("[")[2] else directory
        return directory if directory in ("machines", "pods") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    return Together(config, log) if config.getoption("dist") == "loadscope" else None


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "record what each isolation class could do, for the tables in README.md and docs/how-to/classes.md"
    parser.addoption("--matrix", action="store_true", help=text)
