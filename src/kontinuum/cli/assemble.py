"""The only place that chooses backends: takes settings, builds a part of what the lower floors offer, and runs it.

Imports are inside the functions on purpose: each part is a process of its own, and a process that serves the API should
not pay memory and time for a scheduler's numpy or an agent's grpc.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from kontinuum.cli.settings import Settings
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.priority import step_forward
from kontinuum.foundation.sockets import notify_ready

if TYPE_CHECKING:
    from kontinuum.client.kubeconfig import Connection
    from kontinuum.client.rest import Client

Run = Callable[[Settings, Clock], Awaitable[None]]

SETTLE_SECONDS = 5.0
"""By then a part has started and is idle; whoever waited for that should not wait for the collector too (50 ms)."""

COLLECT_EVERY = 20_000, 5, 5
"""Objects made and not freed again between two looks for cycles. Requests leave none behind, but hold hundreds while
they last: with Python's own 700 each of them is looked at several times for nothing, and with 5,000 that was still 7 %
of a busy API server (100 µs for a pod; now 7). Older ones are looked at after half a million, as they were: connections
that have ended are among them. A look at the young takes 7 ms."""

SWITCH_SECONDS = 0.002
"""How long the store's writer waits for the interpreter while requests are decoded, several times in each commit.

Python's own 5 ms make the slowest hundredth of writes half as slow again; below 1 ms the switching costs more."""


async def server(settings: Settings, clock: Clock) -> None:
    """The API server on its store, until cancelled."""
    from kontinuum.apiserver.app import ApiServer
    from kontinuum.cli.stores import open_store

    sys.setswitchinterval(SWITCH_SECONDS)
    # All others are its clients: what they do meanwhile with the processor it needs, they wait for afterwards.
    step_forward("the API server waits its turn behind its clients")
    store = await open_store(settings)
    try:
        api = ApiServer(store, settings.server, clock)
        await api.start()
        try:
            notify_ready()
            _settle_later()
            await asyncio.get_running_loop().create_future()
        finally:
            await api.stop()
    finally:
        await store.close()


async def controllers(settings: Settings, clock: Clock) -> None:
    """Controllers and scheduler on one event loop, each under its own name towards the API, until cancelled."""
    from kontinuum.controllers import manager
    from kontinuum.scheduler import loop

    managing, scheduling = _client(settings, "controllers"), _client(settings, "scheduler")
    notify_ready()
    _settle_later()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(manager.run(managing, clock, settings.controllers))
            group.create_task(loop.run(scheduling, clock, settings.scheduler))
    finally:
        await asyncio.gather(managing.close(), scheduling.close())


async def manager(settings: Settings, clock: Clock) -> None:
    """The controllers alone, as clients of the API server that the settings' kubeconfig names, until cancelled."""
    from kontinuum.controllers import manager

    connection = connection_of(settings, "controllers")
    authorities = settings.controllers.root_ca or _file_of(connection.certificate_authority)
    client = _connect(connection, "controllers")
    _settle_later()
    try:
        await manager.run(client, clock, replace(settings.controllers, root_ca=authorities))
    finally:
        await client.close()


async def scheduler(settings: Settings, clock: Clock) -> None:
    """The scheduler alone, likewise."""
    from kontinuum.scheduler import loop

    client = _client(settings, "scheduler")
    _settle_later()
    try:
        await loop.run(client, clock, settings.scheduler)
    finally:
        await client.close()


async def node(settings: Settings, clock: Clock) -> None:
    """The node agent, until cancelled. It mounts, so it must run in containerd's mount namespace."""
    from kontinuum.node import agent

    client = _client(settings, "node")
    _settle_later()
    try:
        # Ready is a node that the API knows: whoever waited for that may ask for it at once.
        await agent.run(client, clock, settings.node, registered=notify_ready, on_drain=_on_drain)
    finally:
        await client.close()


async def network(settings: Settings, clock: Clock) -> None:
    """Services, DNS and policies of this machine, until cancelled."""
    from kontinuum.node import connectivity

    client = _client(settings, "network")
    notify_ready()
    _settle_later()
    try:
        await connectivity.run(client, clock, settings.node)
    finally:
        await client.close()


PARTS: dict[str, Run] = {
    "server": server,
    "controllers": controllers,
    "manager": manager,
    "scheduler": scheduler,
    "node": node,
    "network": network,
}
_MODULES = {
    "server": ("kontinuum.apiserver.app", "kontinuum.store.sqlite.store"),
    "controllers": ("kontinuum.controllers.manager", "kontinuum.scheduler.loop", "kontinuum.client.connect"),
    "manager": ("kontinuum.controllers.manager", "kontinuum.client.connect"),
    "scheduler": ("kontinuum.scheduler.loop", "kontinuum.client.connect"),
    "node": ("kontinuum.node.agent", "kontinuum.client.connect"),
    "network": ("kontinuum.node.connectivity", "kontinuum.client.connect"),
}


def preload(part: str) -> None:
    """Import what ``part`` will need, so that it can happen while somebody else still prepares the settings."""
    for module in _MODULES[part]:
        importlib.import_module(module)


def reader(settings: Settings) -> tuple[Client, str]:
    """A client for one look at what a scheduler sees, and the namespace that is meant if none is named."""
    connection = connection_of(settings, "scheduler")
    return _connect(connection, "schedule"), connection.namespace


@asynccontextmanager
async def administrator(settings: Settings) -> AsyncIterator[Client]:
    """A client that may do everything with this installation's API server."""
    client = _client(settings, "admin")
    try:
        yield client
    finally:
        await client.close()


def _client(settings: Settings, name: str) -> Client:
    return _connect(connection_of(settings, name), name)


def _connect(connection: Connection, name: str) -> Client:
    from kontinuum.client.connect import connect

    return connect(connection, user_agent=f"kontinuum-{name}")


def connection_of(settings: Settings, name: str) -> Connection:
    """To whom the settings' kubeconfig says, else to this installation's own API server as ``name``.

    Raises BadKubeconfig, NoToken.
    """
    from kontinuum.cli.settings import address_of
    from kontinuum.client import kubeconfig

    if settings.kubeconfig is not None:
        return kubeconfig.load(settings.kubeconfig, context=settings.context)
    is_beside = not settings.member_of and settings.api_address == address_of(settings.server.listen)
    if is_beside and name != "admin":
        return beside(settings, name)
    # By a way that servers of every version have: the administrator's commands may be newer than what runs.
    pki = settings.installation.pki
    return kubeconfig.Connection(
        server=settings.api_address,
        certificate_authority=pki / "ca.crt",
        client_certificate=pki / f"{name}.crt",
        client_key=pki / f"{name}.key",
    )


def beside(settings: Settings, name: str) -> Connection:
    """As ``name`` to this machine's own API server, by its socket. Raises NoToken."""
    from kontinuum.cli.identities import identities, token_of
    from kontinuum.client import kubeconfig

    server = settings.server
    assert server.socket is not None and server.socket_tokens is not None, "they follow from the data directory"
    return kubeconfig.Connection(
        server=settings.api_address,
        socket=server.socket,
        token=token_of(server.socket_tokens, identities(settings)[name]),
        # Nobody is checked with it here: the part tells others of it.
        certificate_authority=settings.installation.pki / "ca.crt",
    )


def _on_drain(announce: Callable[[], None]) -> None:
    """``kontinuum down --drain`` sends the agent SIGUSR1."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, announce)


def _file_of(authorities: bytes | Path | None) -> str:
    """A path to read the authorities from, as long as this process lives; "" if there are none."""
    if not isinstance(authorities, bytes):
        return str(authorities or "")
    descriptor = os.memfd_create("authorities")
    os.write(descriptor, authorities)
    return f"/proc/self/fd/{descriptor}"


def _settle_later() -> None:
    """What has been loaded stays: the collector, which ``parts`` has switched off, need not look at it again."""
    gc.freeze()
    gc.set_threshold(*COLLECT_EVERY)
    gc.enable()
    asyncio.get_running_loop().call_later(SETTLE_SECONDS, _settle)


def _settle() -> None:
    gc.collect()
    gc.freeze()
