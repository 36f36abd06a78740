"""What holds for every test."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("kontinuum", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kontinuum")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Which tests stay together, in one of the processes among which a run is divided (pytest-xdist's loadgroup).

    Those of one file do. All of tests/machines do, because they measure what is left on the machine; and all of
    tests/conformance on one store, because they share its cluster.
    """
    for item in items:
        directory = item.path.parent.name
        group = str(item.path)
        if directory == "machines":
            group = directory
        elif directory == "conformance":
            chosen = getattr(item, "callspec", None)
            group = f"{directory} {chosen.params.get('cluster') if chosen else None}"
        item.add_marker(pytest.mark.xdist_group(group))
