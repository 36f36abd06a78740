"""Forwarded ports of pods in gVisor, whose own kernel has their address. (A machine's shim sees to its own.)

The container runtime dials ``127.0.0.1:port`` in the pod's network namespace on the host, where such a pod listens to
nothing. While a port is forwarded, what goes there is led to us, and we dial the pod's address:

    runtime ── 127.0.0.1:80 ──(nftables: redirect)──▶ we, in the pod's namespace ── 10.0.0.5:80 ──▶ the pod
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from kontinuum.foundation import process
from kontinuum.foundation.network_namespace import inside
from kontinuum.foundation.takeover import join

log = structlog.get_logger(__name__)

WITH_OWN_STACK = ("sandbox",)
"""Handlers of such pods."""
TABLE = "kontinuum_forward"
_ORIGINAL_DESTINATION = 80
"""SO_ORIGINAL_DST of linux/netfilter_ipv4.h: where a redirected connection was going, a sockaddr_in."""
SECONDS = 10.0


class InnerPorts:
    """Keeps one way into a pod for all that are forwarded to it at a time."""

    def __init__(self) -> None:
        self._ways: dict[Path, _Way] = {}
        # Two that begin at once must not both lead the same packets.
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def reachable(self, namespace: Path, address: str) -> AsyncIterator[None]:
        """While this lasts, ``127.0.0.1`` in the pod's network namespace is the pod at ``address``.

        Raises OSError, process.ProgramFailed (nft). What listens on the pod's own loopback alone is not reached.
        """
        async with self._lock:
            if namespace not in self._ways:
                self._ways[namespace] = _Way(await _lead(namespace, address))
            way = self._ways[namespace]
            way.users += 1
        try:
            yield
        finally:
            way.users -= 1
            if way.users == 0:
                del self._ways[namespace]
                way.server.close()


@dataclass(slots=True)
class _Way:
    server: asyncio.Server
    users: int = 0


async def _lead(namespace: Path, address: str) -> asyncio.Server:
    with inside(namespace):
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    server = await asyncio.start_server(partial(_serve, address), sock=listener)
    rules = _rules(listener.getsockname()[1])
    try:
        await process.run("nsenter", f"--net={namespace}", "nft", "--file", "-", stdin=rules.encode(), timeout=SECONDS)
    except BaseException:
        server.close()
        raise
    return server


async def _serve(address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        port = _asked_for(writer)
        async with asyncio.timeout(SECONDS):
            there = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError) as error:
        log.info("a forwarded port does not answer", address=address, error=str(error))
        writer.transport.abort()
        return
    await join((reader, writer), there)


def _rules(port: int) -> str:
    """Earlier rules go, whosever they were: an agent that was killed could not take them back."""
    return f"""
table ip {TABLE}
delete table ip {TABLE}
table ip {TABLE} {{
    chain output {{
        type nat hook output priority -100
        ip daddr 127.0.0.0/8 tcp dport != {port} redirect to :{port}
    }}
}}
"""


def _asked_for(writer: asyncio.StreamWriter) -> int:
    """The port that was dialled."""
    found: socket.socket = writer.get_extra_info("socket")
    original = found.getsockopt(socket.SOL_IP, _ORIGINAL_DESTINATION, 16)
    port: int = struct.unpack_from("!H", original, 2)[0]
    return port
