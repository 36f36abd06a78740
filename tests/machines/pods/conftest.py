"""The cases of this directory share one platform, and each file runs its cases side by side."""

from __future__ import annotations

import pytest
from tests.machines.platform import Platform
from tests.machines.pods.cases import Outcomes, selected_cases


@pytest.fixture(scope="session")
def outcomes(platform: Platform, request: pytest.FixtureRequest) -> Outcomes:
    return Outcomes(platform, set(selected_cases(request.session.items)))
