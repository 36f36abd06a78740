"""Exec and attach: WebSocket channels on one side, SPDY streams on the other.

    client ──0 stdin──▶            ──stdin──▶
           ◀─1 stdout─             ◀─stdout──
           ◀─2 stderr─   bridge    ◀─stderr──   containerd
           ◀─3 error──             ◀─error───   (a Status: how it ended)
           ──4 resize─▶            ──resize──▶
The first byte of a message names the channel. ``v5.channel.k8s.io`` adds 255: "this channel has ended" (KEP-4006).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiohttp import WSMsgType, web

from kontinuum.foundation.tasks import cancel
from kontinuum.node.streams.spdy import SpdyConnection, SpdyStream

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
CLOSE = 255
PING_SECONDS = 30.0
"""Keeps a silent shell's connection open through whatever sits in between."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which streams the client asked for."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool

    @staticmethod
    def of(query: Mapping[str, str]) -> Wanted:
        """From the request's query, in the API's words or in the kubelet's older ones."""

        def asked(*names: str) -> bool:
            return any(query.get(name, "").lower() in ("1", "true") for name in names)

        tty = asked("tty")
        # A terminal has one output.
        return Wanted(asked("stdin", "input"), asked("stdout", "output"), asked("stderr", "error") and not tty, tty)

    def as_cri(self) -> dict[str, bool]:
        return {"stdin": self.stdin, "stdout": self.stdout, "stderr": self.stderr, "tty": self.tty}

    @property
    def is_empty(self) -> bool:
        return not (self.stdin or self.stdout or self.stderr)


async def bridge(
    request: web.Request, url: str, wanted: Wanted, *, begun: Callable[[], None] = lambda: None
) -> web.WebSocketResponse:
    """Carry one exec or attach between ``request``'s WebSocket and the runtime's one-use ``url``.

    ``begun`` is called whenever the process writes something.
    """
    async with SpdyConnection(url) as runtime:
        # The order in which the runtime expects them does not matter, but it waits for all before it begins.
        error = await runtime.open_stream("error")
        stdin = await runtime.open_stream("stdin") if wanted.stdin else None
        stdout = await runtime.open_stream("stdout") if wanted.stdout else None
        stderr = await runtime.open_stream("stderr") if wanted.stderr else None
        resize = await runtime.open_stream("resize") if wanted.tty else None
        socket = web.WebSocketResponse(protocols=PROTOCOLS, heartbeat=PING_SECONDS, max_msg_size=0)
        await socket.prepare(request)
        inwards = asyncio.create_task(_inwards(socket, stdin, resize))
        outwards = asyncio.create_task(_outwards(socket, stdout, stderr, error, begun))
        try:
            # Whoever ends first ends both: the process, or a client that went away.
            await asyncio.wait({inwards, outwards}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(inwards, outwards)
        await socket.close()
        return socket


async def _inwards(socket: web.WebSocketResponse, stdin: SpdyStream | None, resize: SpdyStream | None) -> None:
    """Returns when the client has gone."""
    inputs = {STDIN: stdin, RESIZE: resize}
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            data: bytes = message.data
        elif message.type is WSMsgType.TEXT:
            data = message.data.encode()
        else:
            continue
        if len(data) == 2 and data[0] == CLOSE and socket.ws_protocol == PROTOCOLS[0]:
            ended = inputs.get(data[1])
            if ended is not None:
                await ended.close_write()
            continue
        stream = inputs.get(data[0]) if data else None
        if stream is not None:
            await stream.write(data[1:])


async def _outwards(
    socket: web.WebSocketResponse,
    stdout: SpdyStream | None,
    stderr: SpdyStream | None,
    error: SpdyStream,
    begun: Callable[[], None],
) -> None:
    """Returns when the process has ended and everything it wrote has been sent; the verdict goes last."""

    async def pump(channel: int, stream: SpdyStream) -> None:
        while content := await stream.read():
            begun()
            await socket.send_bytes(bytes([channel]) + content)

    async with asyncio.TaskGroup() as group:
        for channel, stream in ((STDOUT, stdout), (STDERR, stderr)):
            if stream is not None:
                group.create_task(pump(channel, stream))
        verdict = group.create_task(error.read_all())
    if verdict.result():
        await socket.send_bytes(bytes([ERROR]) + verdict.result())
