"""A whole cluster in one process and in virtual time: an hour of it takes as long as computing it takes.

Our API server on the memory store, the controllers, the scheduler and the hollow nodes, joined by pipes whose delays a
seed chooses. What waits (delays, back-offs, heartbeats) takes virtual time, what computes takes none: latencies are
those of a cluster of infinitely fast machines, and the same for the same seed; processor time and memory are real.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kontinuum.apiserver import identifiers
from kontinuum.apiserver.app import ApiServer
from kontinuum.apiserver.settings import ServerSettings
from kontinuum.cli.processes import memory_bytes
from kontinuum.cli.simulation.scratch import scratch
from kontinuum.client.kubeconfig import Connection
from kontinuum.client.rest import Client
from kontinuum.client.transport.http import HttpTransport
from kontinuum.controllers import manager
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation import pipes
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.pki import Authority
from kontinuum.foundation.tasks import cancel
from kontinuum.scheduler import loop as scheduling
from kontinuum.scheduler.settings import SchedulerSettings
from kontinuum.store.memory.store import MemoryStore
from kontinuum.store.port import Store

DELAY_SECONDS = 0.0005
"""From one part to another, on average: two machines beside each other."""
HISTORY = 2000
"""Changes that are kept for watches that begin again; nobody's connection breaks here."""
USERS = {
    "admin": ("kubernetes-admin", "system:masters"),
    "controllers": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
}
"""User and group, by the part that has this name."""


class PartEnded(RuntimeError):
    """One of the parts has ended by itself, which none ever should."""


@dataclass(frozen=True)
class Whole:
    """What a drive asks of the parts, where all of them are this process."""

    working: tuple[asyncio.Task[None], ...]

    def memory(self) -> dict[str, int]:
        """Bytes, by the name that a person would give it."""
        return {"everything": memory_bytes(os.getpid()) or 0}

    def processor(self) -> dict[str, float]:
        """Seconds."""
        return {"everything": time.process_time()}

    def check(self) -> None:
        """Raises PartEnded."""
        for one in self.working:
            if one.done():
                raise PartEnded(f"{one.get_name()} has ended") from (None if one.cancelled() else one.exception())


@contextlib.asynccontextmanager
async def living(clock: Clock, *, seed: int) -> AsyncIterator[tuple[Client, Whole]]:
    """The administrator's client of a cluster that lives until the block ends. To be called in virtual time."""
    random.seed(seed)
    identifiers.seed(seed)
    async with serving(MemoryStore(history=HISTORY), clock, seed=seed) as connected:
        admin, controllers, scheduler = (connected(user) for user in USERS)
        working = (
            asyncio.create_task(manager.work(controllers, clock, ControllersSettings()), name="controllers"),
            asyncio.create_task(scheduling.run(scheduler, clock, SchedulerSettings(elect=False)), name="scheduler"),
        )
        try:
            yield admin, Whole(working)
        finally:
            await cancel(*working)


@contextlib.asynccontextmanager
async def serving(
    store: Store, clock: Clock, *, seed: int, delay_seconds: float = DELAY_SECONDS, **settings: Any
) -> AsyncIterator[Callable[[str], Client]]:
    """An API server of these ``settings``, and how to become a client of it as one of USERS; all end with the block."""
    made = itertools.count()

    def delays() -> pipes.Delay:
        """Of one direction of one connection: what happens in one moment elsewhere must not change them."""
        chance = random.Random(f"{seed} {next(made)}")
        return lambda: chance.uniform(0, 2 * delay_seconds)

    with scratch() as (directory, _lock):
        directory.mkdir()
        server = ApiServer(store, _settings(directory, clock, **settings), clock)
        await server.start()
        clients: list[Client] = []

        def connected(user: str) -> Client:
            async def connect(client: asyncio.BufferedProtocol) -> None:
                pipes.join(client, server.answering(), inwards=delays(), outwards=delays())

            target = Connection(server="http://virtual", token=user)
            clients.append(Client(HttpTransport(target, clock=clock, connect=connect)))
            return clients[-1]

        try:
            yield connected
        finally:
            for client in clients:
                await client.close()
            await server.stop()


def _settings(directory: Path, clock: Clock, **settings: Any) -> ServerSettings:
    """The server listens nowhere that anybody asks, but has no other way than TLS to listen."""
    authority = Authority.ensure(directory, clock)
    pair = authority.ensure_server("server", common_name="kube-apiserver", hosts=["127.0.0.1"])
    tokens = directory / "tokens.csv"
    tokens.write_text("".join(f'{part},{user},{part},"{group}"\n' for part, (user, group) in USERS.items()))
    return ServerSettings(
        listen="127.0.0.1:0", certificate=pair.certificate, key=pair.key, client_ca=authority.certificate,
        token_file=tokens, **settings,
    )  # fmt: skip
