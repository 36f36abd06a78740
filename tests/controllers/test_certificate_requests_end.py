"""When a request for a certificate is of no use any more."""

from __future__ import annotations

from typing import Any

import pytest

from kontinuum.controllers.lib.certificate_requests import seconds_to_live
from kontinuum.foundation.clock import parse_rfc3339, rfc3339

CREATED = "2026-01-01T00:00:00Z"
HOUR = 3600.0


def csr(**conditions: float) -> dict[str, Any]:
    """A request whose conditions came so many seconds after it."""
    made = [
        {"type": kind, "status": "True", "lastUpdateTime": rfc3339(parse_rfc3339(CREATED) + seconds)}
        for kind, seconds in conditions.items()
    ]
    return {"metadata": {"name": "c", "creationTimestamp": CREATED}, "spec": {}, "status": {"conditions": made}}


@pytest.mark.parametrize(
    ("request_", "age", "left"),
    [
        (csr(), 0, 24 * HOUR),
        (csr(), 30 * HOUR, 0),
        (csr(Approved=60), 60, HOUR),
        (csr(Denied=60), 60 + HOUR, 0),
        (csr(Approved=60, Failed=120), 60 + HOUR, 0),
    ],
)
def test_a_request_is_kept_a_day_undecided_and_an_hour_after(request_: dict[str, Any], age: float, left: float) -> None:
    assert seconds_to_live(request_, parse_rfc3339(CREATED) + age) == left
