"""A session is opened when it is needed first; what is closed stays closed."""

from __future__ import annotations

import aiohttp
import pytest

from kontinuum.foundation.sessions import LateSession


async def test_one_session_is_opened_when_somebody_asks_first() -> None:
    made = []

    def make() -> aiohttp.ClientSession:
        made.append(aiohttp.ClientSession())
        return made[-1]

    late = LateSession(make)
    assert made == []
    assert late.opened() is late.opened() is made[0] and len(made) == 1
    await late.close()
    assert made[0].closed


@pytest.mark.parametrize("is_used", [True, False])
async def test_nothing_is_opened_after_the_end(is_used: bool) -> None:
    made = []

    def make() -> aiohttp.ClientSession:
        made.append(aiohttp.ClientSession())
        return made[-1]

    late = LateSession(make)
    if is_used:
        late.opened()
    await late.close()
    await late.close()
    with pytest.raises(aiohttp.ClientError, match="closed"):
        late.opened()
    assert all(one.closed for one in made)
