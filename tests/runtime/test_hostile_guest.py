"""A guest may send its shim anything. Whoever waits gets an answer or GuestLost, and little is kept meanwhile."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kontinuum.runtime.guest import connection, protocol
from kontinuum.runtime.guest.connection import AgentConnection
from kontinuum.runtime.guest.port import GuestLost, GuestRefused, ProcessSpec
from kontinuum.runtime.guest.protocol import DATA_LIMIT, INITIAL_CREDIT, STDOUT, Frame, Kind
from kontinuum.runtime.guest.streams import Incoming

SHELL = ProcessSpec("main", "shell", ("sh",), (), "/", stdin=True)

# Numbers of requests that are open, or nearly, so that most frames reach the code behind the first check.
sound = st.builds(
    Frame,
    kind=st.sampled_from([*Kind, 0, 77, 255]).map(int),
    id=st.integers(0, 6),
    payload=st.one_of(
        st.binary(max_size=40),
        st.integers(0, 2**32 - 1).map(lambda number: number.to_bytes(4, "little")),
        st.binary(max_size=20).map(lambda text: protocol.Writer().u32(2).data(text + b"\0").done()),
        st.integers(0, 255).map(lambda status: protocol.Writer().u32(status).u8(0).done()),
        st.just(bytes(DATA_LIMIT)),
    ),
    stream=st.integers(0, 3),
)
sent = st.lists(st.one_of(sound.map(protocol.encode), st.binary(max_size=30)), max_size=30)


class Ignored(asyncio.WriteTransport):
    """Takes everything, and says that ``waiting`` bytes of it have not been read yet."""

    def __init__(self, *, waiting: int = 0) -> None:
        super().__init__()
        self.waiting = waiting
        self.reader_protocol: asyncio.StreamReaderProtocol | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None: ...

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def is_closing(self) -> bool:
        return True

    def abort(self) -> None:
        assert self.reader_protocol is not None
        self.reader_protocol.connection_lost(None)


def connected(transport: Ignored) -> tuple[AgentConnection, asyncio.StreamReader]:
    """A connection and the end at which the guest's bytes are fed to it."""
    reader = asyncio.StreamReader()
    transport.reader_protocol = asyncio.StreamReaderProtocol(reader)
    writer = asyncio.StreamWriter(transport, transport.reader_protocol, reader, asyncio.get_running_loop())
    return AgentConnection(reader, writer), reader


async def outcome(waiting: Awaitable[object]) -> object:
    try:
        return await waiting
    except (GuestLost, GuestRefused) as error:
        return type(error)


async def drained(process: connection.AgentProcess) -> int:
    length = 0
    async for chunk in process.stdout():
        length += len(chunk)
    return length


async def talk(pieces: list[bytes]) -> None:
    """Everything that can wait waits; then come the bytes, then the end."""
    guest, reader = connected(Ignored())
    asked: list[asyncio.Future[object]] = []

    def ask(question: Awaitable[object]) -> None:
        asked.append(asyncio.ensure_future(outcome(question)))

    async def start_and_read() -> None:
        process = await guest.start_process(SHELL)
        ask(drained(process))
        ask(process.wait())
        ask(process.write_stdin(bytes(3 * INITIAL_CREDIT)))

    ask(start_and_read())
    ask(guest.stats("main"))
    ask(guest.processes("main"))
    ask(guest.read_file("/file"))
    ask(guest.write_tree("/tree", bytes(3 * INITIAL_CREDIT)))
    await asyncio.sleep(0)
    for piece in pieces:
        reader.feed_data(piece)
        for _ in range(3):
            await asyncio.sleep(0)
    reader.feed_eof()
    async with asyncio.timeout(20):
        while pending := [one for one in asked if not one.done()]:
            await asyncio.wait(pending)
        for one in asked:
            one.result()
        await guest.close()


@settings(max_examples=200, deadline=None)
@given(sent)
def test_whatever_a_guest_sends_nobody_waits_for_ever_and_nothing_breaks_but_the_conversation(
    pieces: list[bytes],
) -> None:
    asyncio.run(talk(pieces))


@given(st.lists(st.integers(0, 3), max_size=2000))
def test_a_stream_keeps_no_more_than_was_granted_however_it_is_cut(lengths: list[int]) -> None:
    stream = Incoming(lambda _count: None)
    for length in lengths:
        stream.put(bytes(length))
    assert sys.getsizeof(stream._waiting) <= 2 * sum(lengths) + 200


def test_data_of_no_length_costs_nothing() -> None:
    stream = Incoming(lambda _count: None)
    for _ in range(10_000):
        stream.put(b"")
    assert sys.getsizeof(stream._waiting) < 200


async def test_a_guest_that_reads_nothing_is_lost_before_what_waits_for_it_grows() -> None:
    transport = Ignored(waiting=connection.UNREAD_LIMIT + 1)
    guest, _reader = connected(transport)
    with pytest.raises(GuestLost, match="does not read"):
        await guest.stats("main")
    await guest.close()


async def test_whoever_was_refused_leaves_nothing_that_asyncio_complains_of() -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, complaint: complaints.append(complaint))

    async def ask() -> None:
        guest, _reader = connected(Ignored(waiting=connection.UNREAD_LIMIT + 1))
        with suppress(GuestLost):
            await guest.stats("main")
        await guest.close()

    await asyncio.create_task(ask())
    await asyncio.sleep(0)
    gc.collect()
    assert not complaints


async def test_a_guest_that_never_answers_does_not_keep_whoever_asked() -> None:
    guest, _reader = connected(Ignored())
    with pytest.raises(GuestLost, match="STATS"):
        await guest._ask(Kind.STATS, protocol.text("main"), seconds=0.01)
    assert "STATS" in await guest.wait_lost(), "a guest that says nothing at all is lost for everybody"
    await guest.close()


async def test_a_guest_that_does_not_answer_but_speaks_is_not_lost() -> None:
    guest, reader = connected(Ignored())
    asking = asyncio.ensure_future(guest._ask(Kind.STATS, protocol.text("main"), seconds=0.05))
    await asyncio.sleep(0)
    reader.feed_data(protocol.encode(Frame(Kind.DATA, 99, b"of a process that has ended", STDOUT)))
    with pytest.raises(GuestLost, match="STATS"):
        await asking
    answering = asyncio.ensure_future(guest.read_file("/file"))
    await asyncio.sleep(0)
    reader.feed_data(protocol.encode(Frame(Kind.OK, 3, b"content")))
    assert await answering == b"content"
    await guest.close()


async def test_a_file_that_is_longer_than_may_be_is_not_taken() -> None:
    guest, reader = connected(Ignored())
    asking = asyncio.ensure_future(guest.read_file("/file"))
    await asyncio.sleep(0)
    reader.feed_data(protocol.encode(Frame(Kind.OK, 2, bytes(protocol.FILE_LIMIT + 1))))
    with pytest.raises(GuestRefused, match="more than it may"):
        await asking
    await guest.close()


async def test_more_output_than_was_granted_ends_the_conversation() -> None:
    guest, reader = connected(Ignored())
    starting = asyncio.ensure_future(guest.start_process(SHELL))
    await asyncio.sleep(0)
    reader.feed_data(protocol.encode(Frame(Kind.OK, 2, (7).to_bytes(4, "little"))))
    process = await starting
    for _ in range(3):
        reader.feed_data(protocol.encode(Frame(Kind.DATA, 2, bytes(DATA_LIMIT), STDOUT)))
    with pytest.raises(GuestLost, match="granted"):
        await process.wait()
    await guest.close()


def test_a_reason_is_repeated_only_so_far() -> None:
    long = protocol.Writer().u32(5).text("x" * 500_000).done()
    assert protocol.read_refusal(long) == (5, "x" * protocol.REASON_LIMIT)
