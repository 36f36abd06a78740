"""The SPDY client against a small server of its own kind, and the bridge against a real WebSocket, on loopback."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from kontinuum.foundation.channels import Wanted, bridge, failure, from_text
from kontinuum.foundation.spdy import DICTIONARY, HeaderWriter
from kontinuum.foundation.spdy_client import UNREAD_FRAMES, SpdyStream, StreamingFailed
from kontinuum.node.streams.spdy import connected


def read_block(decompressor: zlib._Decompress, block: bytes) -> dict[str, str]:  # type: ignore[name-defined]
    plain = decompressor.decompress(block)
    fields, position = [], 4
    for _ in range(2 * struct.unpack(">I", plain[:4])[0]):
        length = struct.unpack(">I", plain[position : position + 4])[0]
        fields.append(plain[position + 4 : position + 4 + length].decode())
        position += 4 + length
    return dict(zip(fields[::2], fields[1::2], strict=True))


def test_header_blocks_build_on_the_ones_before() -> None:
    writer, reader = HeaderWriter(), zlib.decompressobj(zdict=DICTIONARY)
    assert read_block(reader, writer.block({"streamType": "stdin"})) == {"streamtype": "stdin"}
    assert read_block(reader, writer.block({"streamtype": "stdout", "b": ""})) == {"streamtype": "stdout", "b": ""}


class Echo:
    """The runtime's side: sends back on stdout what comes on stdin; its end, then a verdict on error."""

    def __init__(self) -> None:
        self.resizes: list[bytes] = []
        self.pings: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/exec/gone" in head:
            writer.write(b"HTTP/1.1 404 Not Found\r\n\r\n")
            writer.close()
            return
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\n\r\n")
        writer.write(struct.pack(">BBHI", 0x80, 3, 6, 4) + b"ping")
        headers, streams = zlib.decompressobj(zdict=DICTIONARY), dict[str, int]()
        while True:
            try:
                frame = await reader.readexactly(8)
                body = await reader.readexactly(int.from_bytes(frame[5:8]))
            except asyncio.IncompleteReadError:
                break
            if frame[0] & 0x80 and frame[3] == 1:
                streams[read_block(headers, body[10:])["streamtype"]] = int.from_bytes(body[:4])
            elif frame[0] & 0x80:
                self.pings.append(body)
            else:
                await self._data(writer, streams, int.from_bytes(frame[:4]), body, bool(frame[4] & 1))
        writer.close()

    async def _data(
        self, writer: asyncio.StreamWriter, streams: dict[str, int], number: int, body: bytes, is_last: bool
    ) -> None:
        def send(kind: str, content: bytes, flags: int = 0) -> None:
            writer.write(struct.pack(">II", streams[kind], flags << 24 | len(content)) + content)

        if number == streams.get("resize"):
            self.resizes.append(body)
        elif number == streams.get("stdin"):
            if body:
                send("stdout", body)
            if body == b"vanish":
                writer.close()
                return
            if is_last or body == b"exit":
                send("stdout", b"", 1)
                send("error", b'{"status":"Success"}', 1)
        await writer.drain()


@pytest.fixture
async def echo() -> AsyncIterator[tuple[Echo, str]]:
    one = Echo()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    async with server:
        yield one, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_half_a_close_ends_the_input_and_not_the_output(echo: tuple[Echo, str]) -> None:
    one, url = echo
    async with connected(f"{url}/exec/token") as connection:
        error, stdin, stdout = [await connection.open_stream(kind) for kind in ("error", "stdin", "stdout")]
        big = bytes(range(256)) * 1000
        await stdin.write(big)
        await stdin.close_write()
        assert await stdout.read_all() == big
        assert await error.read_all() == b'{"status":"Success"}'
        assert one.pings == [b"ping"]


async def test_who_reads_slowly_is_written_to_slowly_and_loses_nothing() -> None:
    of_nobody: Any = None
    stream = SpdyStream(of_nobody, 1)
    pieces = [bytes([number]) * 9 for number in range(3 * UNREAD_FRAMES)]

    async def arrive() -> None:
        for piece in pieces:
            await stream.deliver(piece)
        stream.finish()

    arriving = asyncio.create_task(arrive())
    for number in range(len(pieces)):
        for _ in range(3):
            await asyncio.sleep(0)
        assert stream.unread <= UNREAD_FRAMES
        assert await stream.read() == pieces[number]
    await arriving
    assert await stream.read() == b""


async def test_a_token_that_was_used_is_a_clear_failure(echo: tuple[Echo, str]) -> None:
    with pytest.raises(StreamingFailed, match="404"):
        async with connected(f"{echo[1]}/exec/gone"):
            pass


@pytest.fixture
async def bridged(echo: tuple[Echo, str]) -> AsyncIterator[str]:
    async def handler(request: web.Request) -> web.WebSocketResponse:
        async with connected(f"{echo[1]}/exec/token") as runtime:
            return await bridge(request, runtime, Wanted.of(request.query))

    application = web.Application()
    application.router.add_get("/", handler)
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/?stdin=true&stdout=1&tty=true"
    await runner.cleanup()


async def test_version_5_can_end_the_input(bridged: str, echo: tuple[Echo, str]) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(bridged, protocols=("v5.channel.k8s.io",)) as ws:
        await ws.send_bytes(b'\x04{"Width":9}')
        await ws.send_bytes(b"\x00hello")
        await ws.send_bytes(b"\xff\x00")
        received = [message.data async for message in ws]
    assert received == [b"\x01hello", b'\x03{"status":"Success"}']
    assert echo[0].resizes == [b'{"Width":9}']


@pytest.mark.parametrize("protocol", ["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"])
async def test_a_runtime_that_vanishes_is_no_success(bridged: str, protocol: str) -> None:
    """kubectl exec ended with 0 when containerd was killed under it."""
    async with aiohttp.ClientSession() as session, session.ws_connect(bridged, protocols=(protocol,)) as ws:
        await ws.send_bytes(b"\x00vanish")
        output, verdict = [message.data async for message in ws]
    assert output == b"\x01vanish"
    said = failure(verdict[1:])
    assert (verdict[0], said[:24]) == (3, b"Internal error occurred:")


async def test_version_4_takes_the_same_bytes_as_no_such_word(bridged: str) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(bridged, protocols=("v4.channel.k8s.io",)) as ws:
        await ws.send_bytes(b"\xff\x00")
        await ws.send_bytes(b"\x00still open")
        assert (await ws.receive()).data == b"\x01still open"


@pytest.mark.behaviour("Pods should support remote command execution over websockets")
@pytest.mark.parametrize(
    ("protocol", "sent", "received"),
    [
        ("v4.base64.channel.k8s.io", "0ZXhpdA==", ["1ZXhpdA==", "3eyJzdGF0dXMiOiJTdWNjZXNzIn0="]),
        ("base64.channel.k8s.io", "0ZXhpdA==", ["1ZXhpdA=="]),
        ("channel.k8s.io", b"\x00exit", [b"\x01exit"]),
        ("", b"\x00exit", [b"\x01exit"]),
    ],
)
async def test_older_protocols_are_spoken_as_they_always_were(
    bridged: str, protocol: str, sent: str | bytes, received: list[str | bytes]
) -> None:
    """Before version 4 a success is not told: clients take whatever comes on channel 3 for a failure."""
    protocols = (protocol,) if protocol else ()
    async with aiohttp.ClientSession() as session, session.ws_connect(bridged, protocols=protocols) as ws:
        assert ws.protocol == (protocol or None)
        await (ws.send_str(sent) if isinstance(sent, str) else ws.send_bytes(sent))
        assert [message.data async for message in ws] == received


def test_a_failure_is_told_in_words_to_clients_that_read_no_status() -> None:
    assert failure(b'{"status":"Success"}') == b""
    assert failure(b'{"status":"Failure","message":"exit code 7"}') == b"exit code 7"
    assert failure(b"not a Status") == b"not a Status"
    assert from_text(b"0YQ==") == b"\x00a" and from_text(b"") == from_text(b"0?") == from_text(b"xYQ==") == b""
