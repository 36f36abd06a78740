"""Forwarded ports of pods with a network stack of their own: one way into a pod, for as long as somebody uses it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from kontinuum.node.streams import inner_ports
from kontinuum.node.streams.inner_ports import InnerPorts


class Server:
    """Stands for the listener in the pod's namespace."""

    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


def test_all_that_is_forwarded_at_a_time_shares_a_way_which_goes_with_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[Path, str, Server]] = []

    async def lead(namespace: Path, address: str) -> Server:
        await asyncio.sleep(0)
        made.append((namespace, address, Server()))
        return made[-1][2]

    monkeypatch.setattr(inner_ports, "_lead", lead)
    pod, other = Path("/netns/pod"), Path("/netns/other")

    async def main() -> None:
        ports = InnerPorts()
        async with AsyncExitStack() as last:
            async with AsyncExitStack() as first:
                await asyncio.gather(
                    first.enter_async_context(ports.reachable(pod, "10.0.0.5")),
                    last.enter_async_context(ports.reachable(pod, "10.0.0.5")),
                    first.enter_async_context(ports.reachable(other, "10.0.0.6")),
                )
            assert [(place, address) for place, address, _ in made] == [(pod, "10.0.0.5"), (other, "10.0.0.6")]
            assert [server.is_closed for _, _, server in made] == [False, True]
        assert made[0][2].is_closed
        async with ports.reachable(pod, "10.0.0.5"):
            assert len(made) == 3, "a way that has gone is made anew"

    asyncio.run(main())


async def _failing(namespace: Path, address: str) -> Server:
    raise OSError("no such namespace")


def test_a_way_that_cannot_be_made_is_tried_again_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inner_ports, "_lead", _failing)

    async def main() -> None:
        ports = InnerPorts()
        for _ in range(2):
            with pytest.raises(OSError, match="no such namespace"):
                async with ports.reachable(Path("/netns/pod"), "10.0.0.5"):
                    raise AssertionError("there is no way")

    asyncio.run(main())
