"""A guest's clock follows the host's: set when it is wrong for certain, left alone when it may be right."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.tasks import cancel
from kontinuum.runtime.guest.fake import FakeGuest
from kontinuum.runtime.timekeeping import TOLERANCE_SECONDS, is_wrong, keep_time

MOMENT = 1_700_000_000.0


@given(offset=st.floats(-1e5, 1e5), asking=st.floats(0, 60), answering=st.floats(0, 60))
def test_a_clock_is_never_set_that_may_be_right_and_always_one_that_cannot_be(
    offset: float, asking: float, answering: float
) -> None:
    read_at = MOMENT + asking
    wrong = is_wrong(read_at + offset, MOMENT, read_at + answering)
    if abs(offset) <= TOLERANCE_SECONDS / 2:
        assert not wrong
    if abs(offset) > asking + answering + 2 * TOLERANCE_SECONDS:
        assert wrong


@pytest.mark.parametrize("offset", [-3600.0, 3600.0])
async def test_a_guest_whose_clock_is_wrong_gets_the_hosts_time(tmp_path: Path, offset: float) -> None:
    guest = FakeGuest(tmp_path)
    guest.clock_offset = offset
    keeping = asyncio.create_task(keep_time(guest, RealClock(), every=0.01))
    async with asyncio.timeout(60):
        while abs(await guest.clock() - time.time()) > 30:
            await asyncio.sleep(0.01)
    await cancel(keeping)
    assert abs(guest.clock_offset) < 30
