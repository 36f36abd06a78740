"""A server on a loop and thread of its own, for tests that are generated and so cannot wait: hypothesis calls them."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import ssl
import threading
from collections.abc import Iterator
from typing import Any

from tests.apiserver.serving import Certificates, client_tls, serving

from kontinuum.store.memory.store import MemoryStore


class Threaded:
    """Requests to it, one after the other on one connection."""

    def __init__(self, address: str, tls: ssl.SSLContext) -> None:
        self.address = address
        host, _, port = address.removeprefix("https://").rpartition(":")
        self._connection = http.client.HTTPSConnection(host, int(port), context=tls, timeout=30)

    def close(self) -> None:
        self._connection.close()

    def call(self, method: str, target: str, body: bytes | None = None, media: str = "") -> tuple[int, bytes]:
        """Code and body. Fails after thirty seconds: whatever is sent, nothing may hang."""
        headers = {"Content-Type": media} if media else {}
        try:
            self._connection.request(method, target, body=body, headers=headers)
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except (http.client.HTTPException, OSError):
            self.close()
            raise


@contextlib.contextmanager
def threaded(certificates: Certificates, **settings: Any) -> Iterator[Threaded]:
    started, ending = threading.Event(), asyncio.Event()
    found: list[str] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        try:
            async with serving(MemoryStore(), certificates, **settings) as api:
                found.append(api.address)
                started.set()
                await ending.wait()
        finally:
            started.set()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    started.wait(60)
    client = Threaded(found[0], client_tls(certificates))
    try:
        yield client
    finally:
        client.close()
        loops[0].call_soon_threadsafe(ending.set)
        thread.join()
