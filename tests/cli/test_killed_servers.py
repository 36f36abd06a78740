"""A server that is killed at any moment loses nothing that it has acknowledged, and tells nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.history import History
from tests.servers import WarmServers, data_directory, settings_for, wait_answering
from tests.store.etcd import etcd

from kontinuum.client import kubeconfig
from kontinuum.client.connect import connect

WRITERS, WATCHERS = 8, 2


def rounds(few: int, more: int, many: int) -> Any:
    """For pytest: a few rounds in the quick run, more with the machine tests, many in the long run."""
    chosen = [few, pytest.param(more, marks=pytest.mark.machine), pytest.param(many, marks=pytest.mark.long)]
    return pytest.mark.parametrize("count", chosen)


async def killed_again_and_again(
    directory: Path, count: int, *, seed: int, settings: Mapping[str, Any] | None = None
) -> History:
    """Kill the server ``count`` times under load: while it starts, when it has just begun, in full work."""
    chance, history = random.Random(seed), History()
    with WarmServers(directory, settings) as servers:
        client = connect(kubeconfig.load(servers.kubeconfig))
        pid = servers.start()
        try:
            await wait_answering(client)
            async with history.watched([client], WATCHERS):
                async with history.written([client], WRITERS):
                    for number in range(count):
                        if number % 5:
                            await wait_answering(client)
                            await history.wait_more(chance.randrange(1, 60))
                        await asyncio.sleep(chance.uniform(0, 0.1))
                        servers.kill(pid)
                        pid = servers.start()
                    await wait_answering(client)
                    await history.wait_more(50)
                await history.must_hold(client)
        finally:
            await client.close()
            servers.kill(pid)
    return history


@rounds(6, 40, 200)
async def test_a_server_on_sqlite_is_killed(count: int) -> None:
    with data_directory() as directory:
        history = await killed_again_and_again(directory, count, seed=count)
    assert len(history.acknowledged) > 20 * count


@rounds(2, 12, 100)
async def test_a_server_on_etcd_is_killed(count: int) -> None:
    with etcd() as cluster, data_directory() as directory:
        settings = {"store": settings_for(cluster.access())}
        history = await killed_again_and_again(directory, count, seed=count, settings=settings)
    assert len(history.acknowledged) > 20 * count


@pytest.mark.machine
async def test_the_server_and_members_of_its_etcd_are_killed_as_it_happens() -> None:
    chance, history = random.Random(3), History()
    with contextlib.ExitStack() as stack:
        cluster, directory = stack.enter_context(etcd(3, tls=True)), stack.enter_context(data_directory())
        with WarmServers(directory, {"store": settings_for(cluster.access())}) as servers:
            client = connect(kubeconfig.load(servers.kubeconfig))
            pid = servers.start()
            try:
                await wait_answering(client)
                async with history.watched([client], WATCHERS):
                    async with history.written([client], WRITERS):
                        for _ in range(12):
                            await history.wait_more(chance.randrange(20, 80))
                            # One member at a time, so that two are left; the server at any time.
                            member = chance.choice(cluster.members)
                            member.kill()
                            if chance.random() < 0.5:
                                servers.kill(pid)
                                pid = servers.start()
                            await asyncio.sleep(chance.uniform(0, 0.3))
                            member.start()
                            await cluster.wait_whole()
                        await history.wait_more(50)
                    await history.must_hold(client)
            finally:
                await client.close()
                servers.kill(pid)
