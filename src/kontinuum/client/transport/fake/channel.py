"""The way from one component to the fake API server, with that component's own faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

import orjson

from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.transport.fake import watching
from kontinuum.client.transport.fake.faults import Faults
from kontinuum.client.transport.fake.storage import Storage
from kontinuum.client.transport.port import Request, Response


class Served(Protocol):
    """What a channel needs of the server at its other end."""

    storage: Storage
    cuts: int

    def serve(self, request: Request) -> Object: ...

    def watch(self, request: Request) -> watching.Watch: ...


class Channel:
    """The transport of one component to a fake API server."""

    def __init__(self, api: Served, faults: Faults) -> None:
        self.api = api
        self.faults = faults

    async def send(self, request: Request) -> Response:
        await asyncio.sleep(self.faults.delay)
        try:
            if request.guard is not None:
                request.guard()
            self.faults.check(request)
            number = len(self.faults.writes)
            if request.is_watch:
                return _Streamed(self.api.storage, self.api.watch(request), self._cut_test())
            answer = _encoded(200, self.api.serve(request))
            self.faults.check_answer(request, number)
        except ApiError as error:
            return _encoded(error.code, error.to_status())
        return answer

    async def close(self) -> None:
        """Nothing is held."""

    def _cut_test(self) -> Callable[[], bool]:
        cuts = self.api.cuts
        return lambda: self.faults.down or self.api.cuts != cuts


class _Encoded:
    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self._body = body

    async def read(self) -> bytes:
        return self._body

    async def lines(self) -> AsyncGenerator[bytes, None]:
        for line in self._body.splitlines():
            yield line

    async def close(self) -> None:
        """Nothing is held."""


class _Streamed:
    status = 200

    def __init__(self, storage: Storage, watch: watching.Watch, is_cut: Callable[[], bool]) -> None:
        self._lines = watching.stream(storage, watch, is_cut)

    async def read(self) -> bytes:
        return b"\n".join([line async for line in self._lines])

    def lines(self) -> AsyncGenerator[bytes, None]:
        return self._lines

    async def close(self) -> None:
        await self._lines.aclose()


def _encoded(status: int, answer: Object) -> _Encoded:
    return _Encoded(status, orjson.dumps(answer))
