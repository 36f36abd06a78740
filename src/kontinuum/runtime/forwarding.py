"""Ports of a machine's loopback, for who dials them in the pod's network namespace on the host.

A container runtime forwards a port by connecting to ``localhost`` in the pod's network namespace, where nothing of a
machine listens: its kernel has a loopback of its own. So what is dialled there is ours, and the agent dials it again:

    containerd ── 127.0.0.1:80 ──▶ the shim ══ agent's wire ══▶ the agent ── 127.0.0.1:80, else [::1]:80 ──▶ a process

That holds under any kubelet. Who dials a port to which nobody listens is connected first, and cut off a moment later.
"""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import structlog

from kontinuum.foundation.network_namespace import inside
from kontinuum.foundation.socket_lookup import answer_every_port
from kontinuum.foundation.tasks import cancel
from kontinuum.runtime.guest.port import Guest, GuestConnection, GuestLost, GuestRefused

log = structlog.get_logger(__name__)

PIECE = 64 << 10
BACKLOG = 128


async def forward_ports(namespace: Path, guest: Guest) -> None:
    """Until it is cancelled. Where the kernel cannot do it, that is said once, and the pod goes without."""
    try:
        with inside(namespace):
            listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        steering = answer_every_port(namespace, listener)
    except OSError as error:
        log.warning("ports of this pod cannot be forwarded", why=str(error), needs="Linux 5.9 and CAP_BPF")
        return
    try:
        await _serve(listener, guest)
    finally:
        os.close(steering)


async def _serve(listener: socket.socket, guest: Guest) -> None:
    """A task for each connection: they end with us."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _host, port, *_ = writer.get_extra_info("sockname")
        try:
            connection = await guest.dial(port)
        except (GuestRefused, GuestLost) as error:
            log.info("a forwarded port does not answer", port=port, why=str(error))
            writer.transport.abort()
            return
        await _join(reader, writer, connection)

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(answer(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    tasks: set[asyncio.Task[None]] = set()
    server = await asyncio.start_server(accepted, sock=listener)
    try:
        await asyncio.Event().wait()
    finally:
        server.close()
        await cancel(*tasks)


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: GuestConnection) -> None:
    """Both ways, each to its own end: a client may say that it has no more to ask, and wait for the answer."""

    async def inwards() -> None:
        while piece := await reader.read(PIECE):
            await connection.write(piece)
        await connection.end()

    async def outwards() -> None:
        async for piece in connection.chunks():
            writer.write(piece)
            await writer.drain()
        writer.write_eof()

    ways = [asyncio.create_task(inwards()), asyncio.create_task(outwards())]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_EXCEPTION)
        for way in ways:
            if way.done() and (error := way.exception()) is not None:
                log.debug("a forwarded connection broke off", why=repr(error))
    finally:
        await cancel(*ways)
        writer.close()
        await connection.close()
