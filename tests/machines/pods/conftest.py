"""The cases of this directory share one platform, and run side by side."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.machines import kubelet
from tests.machines.platform import Platform
from tests.machines.pods.cases import Cases, Outcomes, all_cases, selected_cases
from tools import matrix


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under a kubelet there are fewer classes, and what it cannot do is left out; nor does it refuse for a class."""
    if not kubelet.PROGRAM:
        return
    functions = [item for item in items if isinstance(item, pytest.Function) and hasattr(item, "callspec")]
    calls = [(item, item.callspec.params) for item in functions]
    left_out = [item for item, call in calls if "cases" in call and is_left_out(**call)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def is_left_out(*, cases: Cases, name: str, isolation_class: str) -> bool:
    refused = isolation_class in cases.entries[name].refused
    return isolation_class not in kubelet.CLASSES or refused or name in kubelet.LEFT_OUT


@pytest.fixture(scope="session")
def outcomes(platform: Platform, request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    """With ``--matrix`` what the classes could do is written into the results that the tables are made of."""
    found = Outcomes(platform, selected_cases(request.session.items))
    yield found
    if request.config.getoption("--matrix"):
        matrix.record(found.seen(), {cell for cases in all_cases() for cell in cases.cells()})
