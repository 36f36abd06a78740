"""The HTTP API of one Firecracker process, on its UNIX socket.

Whoever answers may be a hijacked VMM: an answer is read up to a bound, nothing in it is followed or unpacked, and
whatever is wrong with it is an error with a name, in bounded time.

Source: Firecracker's ``src/firecracker/swagger/firecracker.yaml``; success is 200 or 204, and every refusal carries
``fault_message``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
import orjson

from kontinuum.foundation.sockets import NotListening
from kontinuum.runtime.vmm.port import MachineNotStarted, MachineRefused

ANSWER_LIMIT = 64 << 10
"""Bytes of the longest answer."""
REASON_LIMIT = 2000

Method = Literal["GET", "PUT", "PATCH"]
OpenSocket = Callable[[], int]
"""A descriptor of the API's socket (O_PATH), which is closed after each call. Raises OSError, NotListening."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call; ``body`` becomes JSON."""

    method: Method
    path: str
    body: dict[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Api:
    """Holds no connection between calls, so that whoever forks may go on with it."""

    def __init__(self, open_socket: OpenSocket, *, seconds: float) -> None:
        """``seconds`` is for each call."""
        self._open_socket = open_socket
        self._seconds = seconds

    async def call(self, *requests: Request) -> dict[str, Any]:
        """Make the calls in order, up to the first that fails; answers what the last one was answered ({} for nothing).

        Raises MachineRefused (Firecracker says no, and why), MachineNotStarted (it is gone, or answers nonsense).
        """
        answer: dict[str, Any] = {}
        for request in requests:
            try:
                async with asyncio.timeout(self._seconds):
                    answer = await self._call(request)
            except TimeoutError as error:
                raise MachineNotStarted(f"Firecracker has not answered {request} for {self._seconds:g} s") from error
            except (aiohttp.ClientError, NotListening, OSError, ValueError) as error:
                raise MachineNotStarted(f"Firecracker went away during {request}: {_reason(error)}") from error
        return answer

    async def _call(self, request: Request) -> dict[str, Any]:
        opened = self._open_socket()
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(path=f"/proc/self/fd/{opened}", force_close=True),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                ) as session,
                session.request(
                    request.method,
                    f"http://localhost{request.path}",
                    data=None if request.body is None else orjson.dumps(request.body),
                    headers={"Accept": "application/json", "Content-Type": "application/json"},
                    allow_redirects=False,
                ) as response,
            ):
                content = await _read(response)
                if response.status in (200, 204):
                    return _document(content) if content.strip() else {}
                raise _refused(request, response.status, content)
        finally:
            os.close(opened)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    content = b""
    while chunk := await response.content.read(ANSWER_LIMIT + 1 - len(content)):
        content += chunk
        if len(content) > ANSWER_LIMIT:
            raise ValueError(f"an answer of more than {ANSWER_LIMIT} bytes")
    return content


def _document(content: bytes) -> dict[str, Any]:
    document = orjson.loads(content)
    if not isinstance(document, dict):
        raise ValueError(f"the answer is no object: {content[:80]!r}")
    return document


def _refused(request: Request, status: int, content: bytes) -> MachineRefused | MachineNotStarted:
    try:
        fault = str(_document(content).get("fault_message") or "it does not say why")
    except ValueError:
        fault = content[:REASON_LIMIT].decode(errors="replace") or "it does not say why"
    text = f"{request}: {fault[:REASON_LIMIT]} (HTTP {status})"
    if 400 <= status < 500:
        return MachineRefused(f"Firecracker refused {text}")
    return MachineNotStarted(f"Firecracker failed at {text}")


def _reason(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:REASON_LIMIT]
