"""A part is kept running: restarted with growing pauses, never outliving its keeper. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kontinuum.cli.keeper import HEALTHY_SECONDS, Keeper, Part, State
from kontinuum.foundation import virtual_time
from kontinuum.foundation.clock import VirtualClock
from kontinuum.foundation.process import ProgramMissing


@dataclass
class Life:
    """One life of a part that is no process: ready after a time, dead after another."""

    pid: int
    ready_after: float
    dies_after: float
    clock: VirtualClock
    stopped: bool = False
    closed: bool = False

    async def wait_ready(self) -> None:
        await self.clock.sleep(self.ready_after)

    async def wait(self) -> int:
        await self.clock.sleep(self.dies_after)
        return 3

    async def stop(self) -> int:
        self.stopped = True
        return 0

    def close(self) -> None:
        self.closed = True


@dataclass
class Lives:
    """Launches lives that each last as long as is told beforehand; the last one told repeats."""

    clock: VirtualClock
    last: list[float]
    launched: list[tuple[float, Life]] = field(default_factory=list)
    missing_for: int = 0

    async def launch(self, part: Part) -> Life:
        if self.missing_for:
            self.missing_for -= 1
            raise ProgramMissing(f"{part.name}: no such program")
        index = len(self.launched)
        lasts = self.last[min(index, len(self.last) - 1)]
        life = Life(pid=100 + index, ready_after=0.5, dies_after=lasts, clock=self.clock)
        self.launched.append((self.clock.monotonic(), life))
        return life

    def times(self) -> list[float]:
        return [round(when, 3) for when, _ in self.launched]


def in_virtual_time(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    virtual_time.run(scenario)


def keeper_of(lives: Lives, changed: Callable[[], None] = lambda: None) -> Keeper:
    part = Part(name="server", command=("server",), log=Path("/dev/null"))
    return Keeper(part, lives, lives.clock, changed)


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_part_that_dies_again_and_again_is_given_growing_pauses() -> None:
    async def scenario() -> None:
        lives = Lives(VirtualClock(), last=[1.0])
        keeper = keeper_of(lives)
        task = asyncio.create_task(keeper.run())
        await lives.clock.sleep(5.6)
        assert lives.times() == [0.0, 1.1, 2.3, 3.7, 5.5]
        assert keeper.restarts == 4
        assert keeper.last_exit == "ended with code 3"
        await stop(task)

    in_virtual_time(scenario)


def test_a_long_life_earns_a_quick_restart() -> None:
    async def scenario() -> None:
        lives = Lives(VirtualClock(), last=[1.0, 1.0, 1.0, HEALTHY_SECONDS + 1, 1000.0])
        task = asyncio.create_task(keeper_of(lives).run())
        await lives.clock.sleep(60)
        fourth, fifth = lives.times()[3:5]
        assert round(fifth - fourth, 3) == HEALTHY_SECONDS + 1 + 0.1
        await stop(task)

    in_virtual_time(scenario)


def test_states_follow_the_drawing_and_each_is_announced() -> None:
    async def scenario() -> None:
        lives = Lives(VirtualClock(), last=[2.0, 1000.0])
        seen: list[tuple[State, int | None]] = []
        keeper = keeper_of(lives, lambda: seen.append((keeper.state, keeper.pid)))
        task = asyncio.create_task(keeper.run())
        await lives.clock.sleep(4)
        await stop(task)
        assert seen == [
            (State.STARTING, 100),
            (State.READY, 100),
            (State.WAITING, None),
            (State.STARTING, 101),
            (State.READY, 101),
            (State.STOPPED, None),
        ]

    in_virtual_time(scenario)


def test_a_part_that_dies_before_it_is_ready_is_never_called_ready() -> None:
    async def scenario() -> None:
        lives = Lives(VirtualClock(), last=[0.2])
        seen: list[State] = []
        keeper = keeper_of(lives, lambda: seen.append(keeper.state))
        task = asyncio.create_task(keeper.run())
        await lives.clock.sleep(3)
        await stop(task)
        assert State.READY not in seen
        assert seen.count(State.STARTING) > 1

    in_virtual_time(scenario)


def test_a_program_that_cannot_be_started_is_tried_again() -> None:
    async def scenario() -> None:
        lives = Lives(VirtualClock(), last=[1000.0], missing_for=2)
        keeper = keeper_of(lives)
        task = asyncio.create_task(keeper.run())
        await lives.clock.sleep(0.15)
        assert keeper.state is State.WAITING
        assert "no such program" in keeper.last_exit
        await lives.clock.sleep(5)
        assert keeper.state is State.READY
        await stop(task)

    in_virtual_time(scenario)


def test_no_life_outlives_its_keeper_and_all_give_their_descriptors_back() -> None:
    async def scenario() -> None:
        lives = Lives(VirtualClock(), last=[1.0, 1000.0])
        task = asyncio.create_task(keeper_of(lives).run())
        await lives.clock.sleep(10)
        await stop(task)
        assert len(lives.launched) == 2
        assert all(life.stopped and life.closed for _, life in lives.launched)

    in_virtual_time(scenario)


def test_what_must_come_before_is_awaited_at_every_launch() -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        lives = Lives(clock, last=[1.0])

        async def before() -> None:
            await clock.sleep(2)

        part = Part(name="node", command=("node",), log=Path("/dev/null"), before=before)
        task = asyncio.create_task(Keeper(part, lives, clock, lambda: None).run())
        await clock.sleep(6)
        assert lives.times() == [2.0, 5.1]
        await stop(task)

    in_virtual_time(scenario)
