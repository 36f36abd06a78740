"""Of several candidates one works at a time; when it falls silent, another follows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from kontinuum.api.kubernetes.resources import LEASES
from kontinuum.client.election import Election
from kontinuum.client.rest import Client
from kontinuum.client.settings import ElectionSettings
from kontinuum.client.transport.fake import FakeApi, Faults
from kontinuum.foundation import virtual_time
from kontinuum.foundation.clock import VirtualClock
from kontinuum.foundation.tasks import cancel


class Candidate:
    def __init__(self, api: FakeApi, name: str, working: set[str], clock: VirtualClock) -> None:
        self.faults = Faults()
        self.election = Election(
            Client(api.channel(self.faults)), clock, name="test", settings=ElectionSettings(identity=name)
        )
        self._name = name
        self._working = working
        self.task = asyncio.create_task(self.election.run(self._work))

    async def _work(self) -> None:
        assert not self._working, "two lead"
        self._working.add(self._name)
        try:
            await asyncio.sleep(1e9)
        finally:
            self._working.discard(self._name)


def compete(main: Callable[[FakeApi, Candidate, Candidate, set[str]], Awaitable[None]]) -> None:
    async def run() -> None:
        api, working = FakeApi(), set[str]()
        one = Candidate(api, "one", working, VirtualClock())
        await asyncio.sleep(1)
        # The second candidate's wall clock is a day ahead; only how long it sees no change may matter to it.
        two = Candidate(api, "two", working, VirtualClock(1_700_000_000.0 + 86400))
        await main(api, one, two, working)
        await cancel(one.task, two.task)

    virtual_time.run(run)


def test_the_first_leads_and_goes_on_leading() -> None:
    async def main(api: FakeApi, one: Candidate, two: Candidate, working: set[str]) -> None:
        for _ in range(600):
            await asyncio.sleep(1)
            assert working == {"one"}
        assert one.election.is_leader and not two.election.is_leader

    compete(main)


def test_a_leader_that_cannot_renew_stops_before_another_begins() -> None:
    async def main(api: FakeApi, one: Candidate, two: Candidate, working: set[str]) -> None:
        await asyncio.sleep(30)
        one.faults.down = True
        await asyncio.sleep(13)
        assert working == set()
        await asyncio.sleep(12)
        assert working == {"two"}
        one.faults.down = False
        await asyncio.sleep(100)
        assert working == {"two"}
        assert api.storage.all(LEASES)[0]["spec"]["leaseTransitions"] == 1

    compete(main)


def test_a_leader_whose_requests_hang_stops_too() -> None:
    async def main(api: FakeApi, one: Candidate, two: Candidate, working: set[str]) -> None:
        await asyncio.sleep(30)
        one.faults.delay = 1000
        await asyncio.sleep(30)
        assert working == {"two"}

    compete(main)


def test_a_released_lease_is_taken_at_once() -> None:
    async def main(api: FakeApi, one: Candidate, two: Candidate, working: set[str]) -> None:
        await asyncio.sleep(30)
        await cancel(one.task)
        await one.election.release()
        await asyncio.sleep(3)
        assert working == {"two"}

    compete(main)
