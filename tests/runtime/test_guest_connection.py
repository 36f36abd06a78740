"""The connection keeps its promises towards an agent that is slow, silent, gone, or hostile."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from errno import EAGAIN
from functools import partial
from pathlib import Path

import pytest

from kontinuum.foundation import sockets
from kontinuum.runtime.guest import connection, protocol
from kontinuum.runtime.guest.connection import AgentConnection
from kontinuum.runtime.guest.port import Exit, GuestLost, GuestRefused, ProcessNotStarted, ProcessSpec, VolumeDisk
from kontinuum.runtime.guest.protocol import INITIAL_CREDIT, STDERR, STDIN, STDOUT, Frame, Kind, Splitter, Writer

SHELL = ProcessSpec("main", "shell", ("sh",), (), "/", stdin=True)
HELLO = Writer().u32(protocol.VERSION).u64(1 << 27).text("6.1").done()


class ScriptedAgent:
    """The other end of the socket, one frame at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._splitter = Splitter()
        self._frames: list[Frame] = []

    async def expect(self, kind: Kind) -> Frame:
        while not self._frames:
            data = await self._reader.read(1 << 16)
            assert data, f"the host hung up instead of sending {kind.name}"
            self._frames += self._splitter.feed(data)
        frame = self._frames.pop(0)
        assert frame.kind == kind
        return frame

    def send(self, kind: int, number: int, payload: bytes = b"", *, stream: int = 0) -> None:
        self._writer.write(protocol.encode(Frame(kind, number, payload, stream)))

    def refuse(self, number: int, errno: int, reason: str) -> None:
        self.send(Kind.REFUSED, number, Writer().u32(errno).text(reason).done())

    def send_raw(self, data: bytes) -> None:
        self._writer.write(data)

    def hang_up(self) -> None:
        self._writer.close()


@asynccontextmanager
async def conversation() -> AsyncIterator[tuple[AgentConnection, ScriptedAgent]]:
    """A greeted connection and the agent behind it."""
    accepted: asyncio.Queue[ScriptedAgent] = asyncio.Queue()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "agent.sock"

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.put_nowait(ScriptedAgent(reader, writer))

        server = await asyncio.start_unix_server(accept, path)
        connecting = asyncio.ensure_future(connection.connect(partial(sockets.dial_unix, path)))
        agent = await accepted.get()
        agent.send(Kind.OK, (await agent.expect(Kind.HELLO)).id, HELLO)
        guest = await connecting
        try:
            async with asyncio.timeout(60):
                yield guest, agent
        finally:
            await guest.close()
            agent.hang_up()
            server.close()


async def started(guest: AgentConnection, agent: ScriptedAgent) -> tuple[connection.AgentProcess, int]:
    """A process and its number on the wire."""
    starting = asyncio.ensure_future(guest.start_process(SHELL))
    asked = await agent.expect(Kind.START_PROCESS)
    agent.send(Kind.OK, asked.id, Writer().u32(42).done())
    return await starting, asked.id


async def settle() -> None:
    """Let everything that is on its way arrive."""
    for _ in range(20):
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)


async def test_what_is_refused_carries_the_agents_reason() -> None:
    async with conversation() as (guest, agent):
        asking = asyncio.ensure_future(guest.remove_container("main"))
        agent.refuse((await agent.expect(Kind.REMOVE_CONTAINER)).id, 16, "remove main: Device or resource busy")
        with pytest.raises(GuestRefused, match="busy"):
            await asking


async def test_a_disk_is_waited_for_in_the_guests_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that the host lets do little answers seldom, and sees its disk late."""
    monkeypatch.setattr(connection, "_DISK_SECONDS", 0.0)
    monkeypatch.setattr(connection, "_DISK_ANSWERS", 3)

    async def says_not_yet(times: int) -> None:
        for _ in range(times):
            agent.refuse((await agent.expect(Kind.MOUNT_DISK)).id, EAGAIN, "disk scsi0: not yet")

    async with conversation() as (guest, agent):
        disk = VolumeDisk("scsi0", "ext4", "/run/x")
        mounting = asyncio.ensure_future(guest.mount_disk(disk))
        await says_not_yet(2)
        agent.send(Kind.OK, (await agent.expect(Kind.MOUNT_DISK)).id)
        await mounting
        mounting = asyncio.ensure_future(guest.mount_disk(disk))
        await says_not_yet(3)
        with pytest.raises(GuestRefused, match="disk scsi0"):
            await mounting


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("exec sh: No such file or directory", ProcessNotStarted),
        ("mount /data: No such file or directory", GuestRefused),
    ],
)
async def test_a_missing_program_is_told_from_a_missing_mount(reason: str, error: type[GuestRefused]) -> None:
    async with conversation() as (guest, agent):
        starting = asyncio.ensure_future(guest.start_process(SHELL))
        agent.refuse((await agent.expect(Kind.START_PROCESS)).id, 2, reason)
        with pytest.raises(GuestRefused) as raised:
            await starting
        assert type(raised.value) is error or error is GuestRefused
        assert isinstance(raised.value, ProcessNotStarted) is (error is ProcessNotStarted)


async def test_answers_find_their_questions_in_whatever_order_they_come() -> None:
    async with conversation() as (guest, agent):
        first = asyncio.ensure_future(guest.processes("a"))
        asked_first = await agent.expect(Kind.PROCESSES)
        second = asyncio.ensure_future(guest.processes("b"))
        asked_second = await agent.expect(Kind.PROCESSES)
        agent.send(Kind.OK, asked_second.id, Writer().u32(1).u32(22).done())
        agent.send(Kind.OK, asked_first.id, Writer().u32(1).u32(11).done())
        assert (await first, await second) == ((11,), (22,))


async def test_output_that_came_before_the_exit_is_read_after_it() -> None:
    async with conversation() as (guest, agent):
        process, number = await started(guest, agent)
        agent.send(Kind.DATA, number, b"last words", stream=STDOUT)
        agent.send(Kind.EXIT, number, Writer().u32(3).u8(0).done())
        agent.send(Kind.END, number, stream=STDOUT)
        assert await process.wait() == Exit(3)
        assert [chunk async for chunk in process.stdout()] == [b"last words"]


async def test_credit_is_given_back_for_what_was_taken_and_for_nothing_else() -> None:
    async with conversation() as (guest, agent):
        process, number = await started(guest, agent)
        half = bytes(INITIAL_CREDIT // 4)
        agent.send(Kind.DATA, number, half, stream=STDOUT)
        agent.send(Kind.DATA, number, half, stream=STDOUT)
        chunks = process.stdout()
        await anext(chunks)
        await settle()
        following = asyncio.ensure_future(anext(chunks))
        granted = await agent.expect(Kind.CREDIT)
        assert (granted.stream, protocol.read_number(granted.payload)) == (STDOUT, len(half))
        assert await following == half


async def test_input_waits_for_credit_and_goes_on_with_it() -> None:
    async with conversation() as (guest, agent):
        process, number = await started(guest, agent)
        writing = asyncio.ensure_future(process.write_stdin(bytes(INITIAL_CREDIT + 5)))
        received = 0
        while received < INITIAL_CREDIT:
            received += len((await agent.expect(Kind.DATA)).payload)
        await settle()
        assert not writing.done()
        agent.send(Kind.CREDIT, number, protocol.credit(100), stream=STDIN)
        assert len((await agent.expect(Kind.DATA)).payload) == 5
        await writing


async def test_input_of_a_process_that_ended_is_refused_and_does_not_wait_for_ever() -> None:
    async with conversation() as (guest, agent):
        process, number = await started(guest, agent)
        writing = asyncio.ensure_future(process.write_stdin(bytes(INITIAL_CREDIT + 1)))
        await settle()
        agent.send(Kind.EXIT, number, Writer().u32(0).u8(0).done())
        with pytest.raises(GuestRefused, match="ended"):
            await writing


async def test_a_tree_that_is_refused_at_once_is_not_sent_to_its_end() -> None:
    async with conversation() as (guest, agent):
        writing = asyncio.ensure_future(guest.write_tree("/run/x", bytes(4 * INITIAL_CREDIT)))
        agent.refuse((await agent.expect(Kind.WRITE_TREE)).id, 13, "write a tree to /run/x: Permission denied")
        with pytest.raises(GuestRefused, match="Permission denied"):
            await writing


async def test_when_the_socket_ends_everybody_who_waits_hears_of_it() -> None:
    async with conversation() as (guest, agent):
        process, _number = await started(guest, agent)
        waiting = asyncio.ensure_future(process.wait())
        reading = asyncio.ensure_future(anext(process.stderr()))
        asking = asyncio.ensure_future(guest.stats("main"))
        await agent.expect(Kind.STATS)
        agent.hang_up()
        for task in (waiting, reading, asking):
            with pytest.raises(GuestLost):
                await task
        with pytest.raises(GuestLost):
            await guest.stats("main")


def flood(agent: ScriptedAgent, number: int) -> None:
    for _ in range(3):
        agent.send(Kind.DATA, number, bytes(60_000), stream=STDERR)


HOSTILE: list[Callable[[ScriptedAgent, int], None]] = [
    flood,
    lambda agent, number: agent.send(99, number),
    lambda agent, number: agent.send(Kind.EXIT, number, b"bad"),
    lambda agent, number: agent.send(Kind.REFUSED, number, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
    lambda agent, number: agent.send(Kind.START_PROCESS, number),
    lambda agent, _number: agent.send_raw(b"\xff" * 12),
]


@pytest.mark.parametrize("attack", HOSTILE)
async def test_an_agent_that_breaks_the_protocol_is_lost(
    attack: Callable[[ScriptedAgent, int], None],
) -> None:
    async with conversation() as (guest, agent):
        process, number = await started(guest, agent)
        attack(agent, number)
        with pytest.raises(GuestLost):
            await process.wait()


async def test_an_answer_that_means_nothing_is_a_lost_guest_for_who_asked() -> None:
    async with conversation() as (guest, agent):
        asking = asyncio.ensure_future(guest.stats("main"))
        agent.send(Kind.OK, (await agent.expect(Kind.STATS)).id, b"not what was asked for")
        with pytest.raises(GuestLost):
            await asking


async def test_frames_about_what_is_over_are_ignored() -> None:
    async with conversation() as (guest, agent):
        for kind in (Kind.OK, Kind.DATA, Kind.CREDIT, Kind.END):
            agent.send(kind, 12345, Writer().u32(1).done())
        agent.send(Kind.EXIT, 12345, Writer().u32(0).u8(0).done())
        process, _number = await started(guest, agent)
        assert process.pid == 42


async def test_an_agent_of_another_version_is_turned_away() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "agent.sock"

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            agent = ScriptedAgent(reader, writer)
            answer = Writer().u32(protocol.VERSION + 1).u64(0).text("").done()
            agent.send(Kind.OK, (await agent.expect(Kind.HELLO)).id, answer)
            await reader.read()
            agent.hang_up()
            await writer.wait_closed()

        server = await asyncio.start_unix_server(accept, path)
        with pytest.raises(GuestLost, match=f"version {protocol.VERSION + 1}"):
            await connection.connect(partial(sockets.dial_unix, path))
        await settle()
        server.close()


async def dialled(guest: AgentConnection, agent: ScriptedAgent) -> tuple[connection.DialledConnection, int]:
    """A connection to port 80 and its number on the wire."""
    dialling = asyncio.ensure_future(guest.dial(80))
    asked = await agent.expect(Kind.DIAL)
    assert protocol.read_number(asked.payload) == 80
    agent.send(Kind.DATA, asked.id, b"greeting", stream=STDOUT)
    agent.send(Kind.OK, asked.id)
    return await dialling, asked.id


async def test_a_connection_carries_both_ways_and_each_way_ends_by_itself() -> None:
    async with conversation() as (guest, agent):
        dial, number = await dialled(guest, agent)
        chunks = dial.chunks()
        assert await anext(chunks) == b"greeting"
        await dial.write(b"question")
        await dial.end()
        assert await agent.expect(Kind.DATA) == Frame(Kind.DATA, number, b"question", STDIN)
        assert await agent.expect(Kind.END) == Frame(Kind.END, number, b"", STDIN)
        agent.send(Kind.DATA, number, b"answer", stream=STDOUT)
        agent.send(Kind.END, number, stream=STDOUT)
        assert [chunk async for chunk in chunks] == [b"answer"]


async def test_who_hangs_up_says_so_and_hears_no_more() -> None:
    async with conversation() as (guest, agent):
        dial, number = await dialled(guest, agent)
        await dial.close()
        assert [(await agent.expect(Kind.END)).stream for _ in range(2)] == [STDIN, STDOUT]
        agent.send(Kind.DATA, number, b"late", stream=STDOUT)
        agent.send(Kind.CREDIT, number, protocol.credit(1))
        await settle()
        asking = asyncio.ensure_future(guest.remove_container("main"))
        agent.send(Kind.OK, (await agent.expect(Kind.REMOVE_CONTAINER)).id)
        await asking


async def test_a_port_to_which_nobody_listens_is_refused() -> None:
    async with conversation() as (guest, agent):
        dialling = asyncio.ensure_future(guest.dial(81))
        agent.refuse((await agent.expect(Kind.DIAL)).id, 111, "connect to port 81: Connection refused")
        with pytest.raises(GuestRefused, match="Connection refused"):
            await dialling


async def test_a_lost_guest_ends_its_connections() -> None:
    async with conversation() as (guest, agent):
        dial, _number = await dialled(guest, agent)
        chunks = dial.chunks()
        await anext(chunks)
        agent.hang_up()
        with pytest.raises(GuestLost):
            await anext(chunks)
        with pytest.raises(GuestLost):
            await dial.write(b"anybody?")
        await dial.close()
