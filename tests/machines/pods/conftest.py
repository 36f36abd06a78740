"""The cases of this directory share one platform, and run side by side."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.machines.platform import Platform
from tests.machines.pods.cases import Outcomes, all_cases, selected_cases
from tools import matrix


@pytest.fixture(scope="session")
def outcomes(platform: Platform, request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    """With ``--matrix`` what the classes could do is written into the results that the tables are made of."""
    found = Outcomes(platform, selected_cases(request.session.items))
    yield found
    if request.config.getoption("--matrix"):
        matrix.record(found.seen(), {cell for cases in all_cases() for cell in cases.cells()})
