"""Events reach containerd in order, also when it was away meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
from tests.runtime.containerd import Containerd

from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.tasks import cancel
from kontinuum.runtime import codec, messages
from kontinuum.runtime.events import Publisher


def start_of(number: int) -> messages.TaskStart:
    return messages.TaskStart("c", number)


def as_heard(*events: msgspec.Struct) -> list[tuple[str, bytes]]:
    return [("/tasks/start", codec.encode(event)) for event in events]


async def test_events_wait_for_a_containerd_that_is_away_and_keep_their_order(tmp_path: Path) -> None:
    containerd = Containerd(tmp_path / "events.sock")
    publisher = Publisher(containerd.path, "k8s.io", RealClock())
    running = asyncio.create_task(publisher.run())
    publisher.publish(start_of(1))
    publisher.publish(start_of(2))
    assert not await publisher.wait_empty(timeout=0.05)
    await containerd.start()
    assert await publisher.wait_empty(timeout=30)
    containerd.stop()
    publisher.publish(start_of(3))
    assert not await publisher.wait_empty(timeout=0.05)
    await containerd.start()
    assert await publisher.wait_empty(timeout=30)
    assert containerd.heard == as_heard(start_of(1), start_of(2), start_of(3))
    await cancel(running)
    containerd.stop()


async def test_an_event_that_containerd_refuses_does_not_hold_up_the_next(tmp_path: Path) -> None:
    containerd = Containerd(tmp_path / "events.sock")
    containerd.refuse.add("/tasks/oom")
    await containerd.start()
    publisher = Publisher(containerd.path, "k8s.io", RealClock())
    running = asyncio.create_task(publisher.run())
    publisher.publish(messages.TaskOOM("c"))
    publisher.publish(start_of(1))
    assert await publisher.wait_empty(timeout=30)
    assert containerd.heard == as_heard(start_of(1))
    await cancel(running)
    containerd.stop()
