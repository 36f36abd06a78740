"""Commands from afar: WebSocket channels on one side, SPDY streams on the other.

    client ──0 stdin──▶            ──stdin──▶
           ◀─1 stdout─             ◀─stdout──
           ◀─2 stderr─   bridge    ◀─stderr──   containerd, or a kubelet before it
           ◀─3 error──             ◀─error───   (a Status: how it ended)
           ──4 resize─▶            ──resize──▶

The first byte of a message names the channel. Clients choose how that is spoken by the WebSocket's subprotocol:

| subprotocol                         | messages                              | what comes on channel 3   |
|-------------------------------------|---------------------------------------|---------------------------|
| ``v5.channel.k8s.io`` (KEP-4006)    | bytes; 255 "this channel has ended"   | a Status, also of success |
| ``v4.channel.k8s.io``               | bytes                                 | the same                  |
| ``v4.base64.channel.k8s.io``        | text: the channel's digit, and base64 | the same                  |
| ``channel.k8s.io``, or none at all  | bytes                                 | a failure, in words       |
| ``base64.channel.k8s.io``           | text                                  | the same                  |
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import WSMsgType, web
from aiohttp.web_request import BaseRequest

from kontinuum.foundation.spdy_client import SpdyConnection, SpdyStream, StreamingFailed
from kontinuum.foundation.tasks import cancel

PROTOCOLS = (
    "v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io",
)  # fmt: skip
CAN_END_INPUT = PROTOCOLS[:1]
TELLS_SUCCESS = PROTOCOLS[:3]
IN_TEXT = ("v4.base64.channel.k8s.io", "base64.channel.k8s.io")
STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
CLOSE = 255
REFUSAL_HEADER = "Kontinuum-Refusal"
"""Why a handshake is refused, percent-encoded: a client that asks for a WebSocket is not shown the answer's text."""
LOST = json.dumps({
    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
    "message": "Internal error occurred: the container runtime has gone, and nobody knows how the process ended",
}).encode()  # fmt: skip
"""The verdict where none came, in the form of a kubelet's."""
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

    def as_kubelet(self) -> list[tuple[str, str]]:
        """The query by which a kubelet is asked: it knows the older words alone, and yes only as 1."""
        asked = {"input": self.stdin, "output": self.stdout, "error": self.stderr, "tty": self.tty}
        return [(word, "1") for word, is_asked in asked.items() if is_asked]

    @property
    def is_empty(self) -> bool:
        return not (self.stdin or self.stdout or self.stderr)


async def bridge(
    request: BaseRequest,
    runtime: SpdyConnection,
    wanted: Wanted,
    *,
    begun: Callable[[], None] = lambda: None,
    largest: int = 0,
) -> web.WebSocketResponse:
    """Carry one exec or attach between ``request``'s WebSocket and ``runtime``, until either side ends.

    ``begun`` is called whenever the process writes something; ``largest``: bytes of a message that the client may send
    (0: any).
    """
    # The order in which the runtime expects them does not matter, but it waits for all before it begins.
    error = await runtime.open_stream("error")
    stdin = await runtime.open_stream("stdin") if wanted.stdin else None
    stdout = await runtime.open_stream("stdout") if wanted.stdout else None
    stderr = await runtime.open_stream("stderr") if wanted.stderr else None
    resize = await runtime.open_stream("resize") if wanted.tty else None
    socket = web.WebSocketResponse(protocols=PROTOCOLS, heartbeat=PING_SECONDS, max_msg_size=largest)
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
        if socket.ws_protocol in IN_TEXT:
            data = from_text(data)
        if len(data) == 2 and data[0] == CLOSE and socket.ws_protocol in CAN_END_INPUT:
            ended = inputs.get(data[1])
            if ended is not None:
                with suppress(StreamingFailed):
                    await ended.close_write()
            continue
        stream = inputs.get(data[0]) if data else None
        if stream is not None:
            # That nobody reads any more is told by the way out, which ends.
            with suppress(StreamingFailed):
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
            await _send(socket, channel, content)

    async with asyncio.TaskGroup() as group:
        for channel, stream in ((STDOUT, stdout), (STDERR, stderr)):
            if stream is not None:
                group.create_task(pump(channel, stream))
        verdict = group.create_task(error.read_all())
    content = verdict.result() or LOST
    if socket.ws_protocol not in TELLS_SUCCESS:
        content = failure(content)
    if content:
        await _send(socket, ERROR, content)


async def _send(socket: web.WebSocketResponse, channel: int, content: bytes) -> None:
    if socket.ws_protocol in IN_TEXT:
        await socket.send_str(f"{channel}{base64.b64encode(content).decode()}")
    else:
        await socket.send_bytes(bytes([channel]) + content)


def from_text(message: bytes) -> bytes:
    """A message of a protocol in base64, as it would have come in bytes; empty if it is none."""
    try:
        return bytes([int(message[:1])]) + base64.b64decode(message[1:], validate=True)
    except ValueError:
        return b""


def failure(verdict: bytes) -> bytes:
    """What went wrong, in words, of a verdict (a Status); empty for a success."""
    try:
        said = json.loads(verdict)
    except ValueError:
        return verdict
    return b"" if said.get("status") == "Success" else str(said.get("message", "")).encode()
