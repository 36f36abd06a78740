"""Events reach the API; repeated ones are counted; nobody may talk without end, and nobody waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from kontinuum.api.kubernetes.resources import EVENTS
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import forbidden
from kontinuum.client.events import BURST, SENT_AT_ONCE, SENT_PER_SECOND, EventRecorder
from kontinuum.client.rest import Client
from kontinuum.client.transport.fake import FakeApi, Faults
from kontinuum.foundation import virtual_time
from kontinuum.foundation.clock import VirtualClock
from kontinuum.foundation.tasks import cancel

POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "default", "uid": "u1", "resourceVersion": "7"},
}
NODE: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "uid": "u2"}}


def recording(main: Callable[[FakeApi, EventRecorder, Faults], Awaitable[None]]) -> None:
    async def run() -> None:
        api, faults = FakeApi(), Faults()
        recorder = EventRecorder(Client(api.channel(faults)), "tester", "host-1", clock=VirtualClock())
        task = asyncio.create_task(recorder.run())
        await main(api, recorder, faults)
        await cancel(task)

    virtual_time.run(run)


def test_an_event_names_what_it_is_about_and_who_tells_it() -> None:
    async def main(api: FakeApi, recorder: EventRecorder, faults: Faults) -> None:
        recorder.event(POD, "Normal", "Started", "Container started")
        await asyncio.sleep(1)
        (event,) = api.storage.all(EVENTS)
        assert event["involvedObject"] == {
            "apiVersion": "v1", "kind": "Pod", "name": "p", "namespace": "default", "uid": "u1", "resourceVersion": "7",
        }  # fmt: skip
        assert (event["type"], event["reason"], event["message"]) == ("Normal", "Started", "Container started")
        assert event["source"] == {"component": "tester", "host": "host-1"}
        assert event["count"] == 1

    recording(main)


def test_the_same_words_about_two_parts_of_an_object_are_two_events() -> None:
    async def main(api: FakeApi, recorder: EventRecorder, faults: Faults) -> None:
        for part in ("spec.containers{a}", "spec.containers{b}", "spec.containers{a}"):
            recorder.event(POD, "Normal", "Created", "Container created", field_path=part)
        await asyncio.sleep(1)
        told = {one["involvedObject"]["fieldPath"]: one["count"] for one in api.storage.all(EVENTS)}
        assert told == {"spec.containers{a}": 2, "spec.containers{b}": 1}

    recording(main)


def test_events_of_one_moment_are_listed_as_they_were_told() -> None:
    """``kubectl describe`` leaves events of the same second in the order of the list, which is that of names."""
    told = [f"Told{number}" for number in (7, 3, 9, 1, 8, 2)]

    async def main(api: FakeApi, recorder: EventRecorder, faults: Faults) -> None:
        for reason in told:
            recorder.event(POD, "Normal", reason, "something")
        await asyncio.sleep(1)
        events = sorted(api.storage.all(EVENTS), key=lambda event: event["metadata"]["name"])
        assert [event["reason"] for event in events] == told

    recording(main)


def test_two_components_that_tell_something_in_the_same_moment_are_both_heard() -> None:
    async def main(api: FakeApi, recorder: EventRecorder, faults: Faults) -> None:
        other = EventRecorder(Client(api.channel(faults)), "another", "host-1", clock=VirtualClock())
        task = asyncio.create_task(other.run())
        recorder.event(POD, "Normal", "First", "of one")
        other.event(POD, "Normal", "Second", "of the other")
        await asyncio.sleep(1)
        assert {event["reason"] for event in api.storage.all(EVENTS)} == {"First", "Second"}
        await cancel(task)

    recording(main)


def test_an_event_of_a_cluster_scoped_object_is_in_default() -> None:
    async def main(api: FakeApi, recorder: EventRecorder, faults: Faults) -> None:
        recorder.event(NODE, "Normal", "Starting", "Starting")
        await asyncio.sleep(1)
        assert api.storage.all(EVENTS)[0]["metadata"]["namespace"] == "default"

    recording(main)


def test_a_repeated_event_raises_the_count_of_the_first() -> None:
    async def main(api: FakeApi, recorder: EventRecorder, faults: Faults) -> None:
        for _ in range(5):
            recorder.event(POD, "Warning", "BackOff", "Back-off restarting failed container")
            await asyncio.sleep(10)
        (event,) = api.storage.all(EVENTS)
        assert event["count"] == 5
        assert event["firstTimestamp"] < event["lastTimestamp"]

    recording(main)


def test_a_repeated_event_whose_object_has_expired_is_told_anew() -> None:
    async def main(api: FakeApi, recorder: EventRecorder, faults: Faults) -> None:
        recorder.event(POD, "Warning", "BackOff", "again")
        await asyncio.sleep(1)
        await api.client().delete(EVENTS, api.storage.all(EVENTS)[0]["metadata"]["name"], namespace="default")
        recorder.event(POD, "Warning", "BackOff", "again")
        await asyncio.sleep(1)
        assert api.storage.all(EVENTS)[0]["count"] == 1

    recording(main)


def test_one_object_that_talks_without_end_is_cut_short_and_others_are_heard() -> None:
    async def main(api: FakeApi, recorder: EventRecorder, faults: Faults) -> None:
        for number in range(500):
            recorder.event(POD, "Normal", "Chatter", f"message {number}")
        recorder.event(NODE, "Normal", "Starting", "Starting")
        await asyncio.sleep(10)
        kinds = [event["involvedObject"]["kind"] for event in api.storage.all(EVENTS)]
        assert kinds.count("Pod") == BURST
        assert kinds.count("Node") == 1

    recording(main)


def test_a_storm_of_events_is_told_slowly_and_a_few_are_told_at_once() -> None:
    async def main(api: FakeApi, recorder: EventRecorder, faults: Faults) -> None:
        for number in range(300):
            pod = {**POD, "metadata": {**POD["metadata"], "name": f"p-{number}", "uid": f"u-{number}"}}
            recorder.event(pod, "Normal", "Scheduled", f"Successfully assigned p-{number}")
        await asyncio.sleep(0.1)
        assert abs(len(api.storage.all(EVENTS)) - SENT_AT_ONCE) <= 10
        await asyncio.sleep(2)
        assert abs(len(api.storage.all(EVENTS)) - SENT_AT_ONCE - 2 * SENT_PER_SECOND) <= 10
        await asyncio.sleep(60)
        assert len(api.storage.all(EVENTS)) == 300
        # When it has been quiet, the next are told at once again.
        for number in range(50):
            pod = {**POD, "metadata": {**POD["metadata"], "name": f"q-{number}", "uid": f"v-{number}"}}
            recorder.event(pod, "Normal", "Scheduled", f"Successfully assigned q-{number}")
        await asyncio.sleep(0.1)
        assert len(api.storage.all(EVENTS)) == 350

    recording(main)


def test_events_wait_for_a_server_that_is_away_for_a_moment_and_give_way_to_a_refusal() -> None:
    async def main(api: FakeApi, recorder: EventRecorder, faults: Faults) -> None:
        faults.down = True
        recorder.event(POD, "Normal", "First", "told late")
        await asyncio.sleep(1.5)
        faults.down = False
        await asyncio.sleep(5)
        faults.refuse = lambda request: forbidden(EVENTS, "", "not here")
        recorder.event(POD, "Normal", "Second", "refused")
        await asyncio.sleep(1)
        faults.refuse = lambda request: None
        recorder.event(POD, "Normal", "Third", "told")
        await asyncio.sleep(1)
        assert {event["reason"] for event in api.storage.all(EVENTS)} == {"First", "Third"}

    recording(main)
