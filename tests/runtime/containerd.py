"""The end of containerd that takes events: real sockets, and a memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

from kontinuum.runtime import codec, messages
from kontinuum.runtime.events import SERVICE
from kontinuum.runtime.ttrpc import CallFailed, ServerConnection


class Containerd:
    """``heard``: topics and bodies, once it ``has_time``; it refuses the topics in ``refuse``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[tuple[str, bytes]] = []
        self.refuse: set[str] = set()
        self.has_time = asyncio.Event()
        self.has_time.set()
        self._server: asyncio.Server | None = None
        self._connections: list[asyncio.BaseTransport] = []

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._connection, str(self.path))

    def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for transport in self._connections:
            transport.close()
        # Python does so itself from 3.13 on.
        self.path.unlink(missing_ok=True)

    def _connection(self) -> ServerConnection:
        connection = ServerConnection(self._take)
        made = connection.connection_made

        def remember(transport: asyncio.BaseTransport) -> None:
            self._connections.append(transport)
            made(transport)

        connection.connection_made = remember  # type: ignore[method-assign]
        return connection

    async def _take(self, service: str, method: str, payload: bytes) -> bytes:
        assert (service, method) == (SERVICE, "Forward")
        envelope = codec.decode(messages.ForwardRequest, payload).envelope
        assert envelope is not None and envelope.event is not None and envelope.namespace == "k8s.io"
        if envelope.topic in self.refuse:
            raise CallFailed(3, "not this one")
        await self.has_time.wait()
        self.heard.append((envelope.topic, envelope.event.value))
        return b""
