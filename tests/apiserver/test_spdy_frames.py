"""Whatever frames a client sends over an upgraded connection, reading them ends, and in bounded memory."""

from __future__ import annotations

import asyncio
import struct
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kontinuum.apiserver.spdy import MOST_STREAMS, SpdyConnection
from kontinuum.foundation import spdy


class Sink:
    """A writer that keeps nothing."""

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None: ...


def syn_stream(number: int, block: bytes) -> bytes:
    return spdy.control_frame(spdy.SYN_STREAM, struct.pack(">IIH", number, 0, 0) + block)


async def read(data: bytes) -> SpdyConnection:
    """The connection after all of ``data``. Raises ValueError if that made no sense."""
    reader: Any = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    sink: Any = Sink()
    connection = SpdyConnection(reader, sink)

    async def empty() -> None:
        while True:
            await connection.arrived.get()

    emptying = asyncio.create_task(empty())
    try:
        async with asyncio.timeout(20):
            await connection.run()
    finally:
        emptying.cancel()
    return connection


FRAMES = (
    st.binary(max_size=40)
    | st.builds(spdy.control_frame, st.integers(0, 20), st.binary(max_size=40), st.integers(0, 255))
    | st.builds(spdy.data_frame, st.integers(0, 9), st.binary(max_size=40), st.integers(0, 255))
    | st.builds(syn_stream, st.integers(0, 9), st.binary(max_size=40))
    | st.builds(lambda kind: syn_stream(1, spdy.HeaderWriter().block({"streamtype": kind})), st.text(max_size=8))
)


@given(st.lists(FRAMES, max_size=8))
@example([spdy.control_frame(spdy.SYN_STREAM, b"")])
@example([spdy.control_frame(spdy.RST_STREAM, b"")])
@settings(max_examples=400, deadline=None)
def test_any_frames_are_read_or_refused(frames: list[bytes]) -> None:
    try:
        asyncio.run(read(b"".join(frames)))
    except ValueError:
        return


async def test_a_header_block_that_swells_is_refused() -> None:
    packer = zlib.compressobj(zdict=spdy.DICTIONARY)
    block = packer.compress(b"\x00" * 100_000_000) + packer.flush(zlib.Z_SYNC_FLUSH)
    assert len(block) < 200_000
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="too large"):
            await read(syn_stream(1, block))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


async def test_a_frame_that_is_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(ValueError, match="too large"):
        await read(struct.pack(">II", 1, 0xFFFFFF))


async def test_streams_without_number_are_refused() -> None:
    writer = spdy.HeaderWriter()
    opened = b"".join(syn_stream(n, writer.block({"streamtype": f"s{n}"})) for n in range(MOST_STREAMS + 1))
    with pytest.raises(ValueError, match="too many"):
        await read(opened)


async def test_content_arrives_on_the_stream_that_it_was_sent_on() -> None:
    block = spdy.HeaderWriter().block({"streamtype": "stdin"})
    reader: Any = asyncio.StreamReader()
    reader.feed_data(syn_stream(1, block) + spdy.data_frame(1, b"hello", spdy.FIN))
    reader.feed_eof()
    sink: Any = Sink()
    connection = SpdyConnection(reader, sink)
    await connection.run()
    assert [connection.arrived.get_nowait() for _ in range(2)] == [("stdin", b"hello"), ("stdin", None)]
