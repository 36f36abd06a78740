"""The agent behind a UNIX socket, as a ``Guest``.

Everything that arrives is sorted by one task, which never waits: what a process writes is kept (bounded by the credit
that it was granted) until its reader takes it, and taking it grants new credit. When the socket ends, or the agent
breaks the protocol, everybody who waits gets GuestLost.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from errno import EAGAIN
from typing import Any, TypeVar

from kontinuum.foundation.tasks import cancel
from kontinuum.runtime.guest import protocol
from kontinuum.runtime.guest.port import (
    ContainerSpec,
    ContainerStats,
    Dial,
    Exit,
    Guest,
    GuestLost,
    GuestRefused,
    Identity,
    NobodyAnswers,
    ProcessNotStarted,
    ProcessSpec,
    VolumeDisk,
)
from kontinuum.runtime.guest.protocol import DATA_LIMIT, STDERR, STDIN, STDOUT, Frame, Kind
from kontinuum.runtime.guest.streams import Grant, Incoming

T = TypeVar("T")
_READ = 64 << 10
_CONNECT_PAUSE = 0.002
_DISK_SECONDS, _DISK_PAUSE = 10.0, 0.005
_DISK_ANSWERS = 1000
"""How long, and how often, an agent may say that its kernel does not see a disk yet. On a crowded host a guest gets
little done in ten seconds; what it has answered tells how much."""
ANSWER_SECONDS = 120.0
"""For one request. Under translation on a crowded host, seconds were seen; an agent that never answers must not keep
whoever asked for ever, because there is one who asks every few seconds."""
SIGNAL_SECONDS = 30.0
"""For a signal, which costs the agent nothing, and comes when a pod is to end: containerd waits with it."""
_STEPS = 5
"""In which it is waited: if we were stopped, and our machine with us, that took no longer than one of them."""
TREE_SECONDS = 900.0
UNREAD_LIMIT = 2 << 20
"""Bytes that may wait for an agent that does not read: a request and some credit."""
_EXECUTION = "exec "
"""How the agent's reason begins when the program itself could not be executed."""


async def connect(dial: Dial) -> AgentConnection:
    """The agent that ``dial`` reaches, once it has answered; waits as long as it takes to boot.

    Raises GuestLost if the line is cut before, or an agent of another version answers.
    """
    while True:
        try:
            line = await dial()
            break
        except NobodyAnswers:
            # The machine is only just starting; who started it ends this wait if it dies.
            await asyncio.sleep(_CONNECT_PAUSE)
    reader, writer = await asyncio.open_unix_connection(sock=line)
    connection = AgentConnection(reader, writer)
    try:
        hello = await connection.greet()
        if hello.version != protocol.VERSION:
            raise GuestLost(f"the agent speaks version {hello.version} of our protocol, not {protocol.VERSION}")
    except BaseException:
        await connection.close()
        raise
    return connection


async def wait_ready(dial: Dial) -> None:
    """Return when the agent that ``dial`` reaches has answered; the line is free again then."""
    connection = await connect(dial)
    await connection.close()


class AgentConnection(Guest):
    """See the module."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._next_id = 1
        self._asked: dict[int, asyncio.Future[bytes]] = {}
        self._streams: dict[tuple[int, int], Incoming] = {}
        self._grants: dict[tuple[int, int], Grant] = {}
        self._exits: dict[int, asyncio.Future[Exit]] = {}
        self._lost: GuestLost | None = None
        self._heard = 0
        """How often something came from the agent."""
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._sorter = asyncio.get_running_loop().create_task(self._sort())

    async def greet(self) -> protocol.Hello:
        return _understood(protocol.read_hello, await self._ask(Kind.HELLO, b""))

    async def identify(self, identity: Identity) -> None:
        await self._ask(Kind.IDENTIFY, protocol.identify(identity))

    async def clock(self, *, set_to: float | None = None) -> float:
        return _understood(protocol.read_clock, await self._ask(Kind.CLOCK, protocol.clock(set_to)))

    async def forget(self) -> None:
        await self._ask(Kind.FORGET, b"")

    async def add_container(self, spec: ContainerSpec) -> None:
        await self._ask_until_seen(Kind.ADD_CONTAINER, protocol.add_container(spec))

    async def remove_container(self, container: str, *, layer: str = "", keep_layer: bool = False) -> None:
        payload = protocol.remove_container(container, layer=layer, keep_layer=keep_layer)
        await self._ask(Kind.REMOVE_CONTAINER, payload)

    async def update_container(
        self, container: str, *, memory_limit_bytes: int, cpu_quota_microseconds: int, pids_limit: int
    ) -> None:
        payload = protocol.update_container(
            container, memory_bytes=memory_limit_bytes, cpu_quota_microseconds=cpu_quota_microseconds, pids=pids_limit
        )
        await self._ask(Kind.UPDATE_CONTAINER, payload)

    async def start_process(self, spec: ProcessSpec) -> AgentProcess:
        number = self._new_id()
        process = AgentProcess(self, number, terminal=spec.terminal)
        # Before the question: a program may have written and ended by the time its start is answered.
        self._exits[number] = process.exit
        self._streams[number, STDOUT] = process.output
        self._streams[number, STDERR] = process.error
        self._grants[number, STDIN] = process.input
        try:
            answer = await self._ask(Kind.START_PROCESS, protocol.start_process(spec), number=number)
        except GuestLost:
            self._forget(number)
            raise
        except GuestRefused as error:
            self._forget(number)
            if str(error).startswith(_EXECUTION) and isinstance(error, _Refusal):
                raise ProcessNotStarted(str(error), errno=error.errno) from error
            raise
        process.pid = _understood(protocol.read_number, answer)
        return process

    async def write_tree(self, path: str, archive: bytes) -> None:
        number = self._new_id()
        grant = self._grants[number, STDIN] = Grant()
        asking = asyncio.ensure_future(
            self._ask(Kind.WRITE_TREE, protocol.text(path), number=number, seconds=TREE_SECONDS)
        )
        # The answer may come early: a tree that cannot be begun is refused before its content was sent.
        sending = asyncio.ensure_future(self._send_all(number, archive, grant))
        try:
            await asyncio.wait({asking, sending}, return_when=asyncio.FIRST_COMPLETED)
            await asking
        finally:
            await cancel(asking, sending)
            self._grants.pop((number, STDIN), None)

    async def read_file(self, path: str) -> bytes:
        content = await self._ask(Kind.READ_FILE, protocol.text(path))
        if len(content) > protocol.FILE_LIMIT:
            raise GuestRefused(f"{path}: the agent sent {len(content)} bytes, which is more than it may")
        return content

    async def mount_memory(self, path: str, *, size_bytes: int) -> None:
        await self._ask(Kind.MOUNT_MEMORY, protocol.mount_memory(path, size_bytes))

    async def mount_disk(self, disk: VolumeDisk) -> None:
        await self._ask_until_seen(Kind.MOUNT_DISK, protocol.mount_disk(disk))

    async def unmount(self, path: str) -> None:
        await self._ask(Kind.UNMOUNT, protocol.text(path))

    async def dial(self, port: int) -> DialledConnection:
        number = self._new_id()
        connection = DialledConnection(self, number)
        # Before the question: a server may have greeted by the time that the connection is answered for.
        self._streams[number, STDOUT] = connection.received
        self._grants[number, STDIN] = connection.room
        try:
            await self._ask(Kind.DIAL, protocol.dial(port), number=number)
        except BaseException:
            self._forget(number)
            raise
        return connection

    async def hang_up(self, number: int) -> None:
        """Nothing more is written to the connection, or read from it."""
        if self._grants.pop((number, STDIN), None) is not None:
            await self.send(Frame(Kind.END, number, b"", STDIN))
        if self._streams.pop((number, STDOUT), None) is not None:
            await self.send(Frame(Kind.END, number, b"", STDOUT))

    async def stats(self, container: str) -> ContainerStats:
        return _understood(protocol.read_stats, await self._ask(Kind.STATS, protocol.text(container)))

    async def processes(self, container: str) -> tuple[int, ...]:
        return _understood(protocol.read_numbers, await self._ask(Kind.PROCESSES, protocol.text(container)))

    async def wait_lost(self) -> str:
        return await asyncio.shield(self._over)

    async def close(self) -> None:
        await cancel(self._sorter)
        self._lose(GuestLost("the connection to the agent was closed"))
        # Not ``close``, which waits until an agent that reads nothing has read all that was sent to it.
        self._writer.transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def signal(self, process: int, number: int, *, whole_container: bool) -> None:
        payload = protocol.signal(process, number, whole_container=whole_container)
        await self._ask(Kind.SIGNAL, payload, seconds=SIGNAL_SECONDS)

    async def resize(self, process: int, *, rows: int, columns: int) -> None:
        await self._ask(Kind.RESIZE, protocol.resize(process, rows=rows, columns=columns))

    async def send(self, frame: Frame) -> None:
        """Returns when the socket has room again. Raises GuestLost."""
        self.post(frame)
        try:
            await self._writer.drain()
        except OSError as error:
            raise GuestLost(f"the agent's socket: {error}") from error

    def post(self, frame: Frame) -> None:
        """Send something small without waiting. Raises GuestLost."""
        if self._lost is None and self._writer.transport.get_write_buffer_size() > UNREAD_LIMIT:
            self._lose(GuestLost("the agent does not read what it is sent"))
        if self._lost is not None:
            raise self._lost
        self._writer.write(protocol.encode(frame))

    async def send_data(self, number: int, data: bytes, grant: Grant) -> None:
        """As the agent grants it. Raises GuestLost, GuestRefused (nobody reads it any more)."""
        view = memoryview(data)
        while view:
            room = await grant.take(min(len(view), DATA_LIMIT))
            await self.send(Frame(Kind.DATA, number, bytes(view[:room]), STDIN))
            view = view[room:]

    async def _send_all(self, number: int, data: bytes, grant: Grant) -> None:
        await self.send_data(number, data, grant)
        await self.send(Frame(Kind.END, number, b"", STDIN))

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id

    async def _ask(self, kind: Kind, payload: bytes, *, number: int = 0, seconds: float = ANSWER_SECONDS) -> bytes:
        """The agent's answer. Raises GuestLost, and the guest is lost for everybody if it has said nothing else either:
        it is frozen, or dead, and its machine runs on as if nothing were."""
        number = number or self._new_id()
        answer: asyncio.Future[bytes] = _new_future()
        self._asked[number] = answer
        heard = self._heard
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.send(Frame(kind, number, payload))
                for _ in range(_STEPS):
                    await asyncio.wait({answer}, timeout=seconds / _STEPS)
                    if answer.done():
                        return answer.result()
        finally:
            self._asked.pop(number, None)
        silence = GuestLost(f"the agent has not answered {kind.name} for {seconds:g} s")
        if heard == self._heard:
            self._lose(silence)
        raise silence

    async def _ask_until_seen(self, kind: Kind, payload: bytes) -> None:
        """Something that needs a disk: the guest's kernel may notice it a moment after it was attached."""
        deadline = asyncio.get_running_loop().time() + _DISK_SECONDS
        for answers in itertools.count(1):
            try:
                await self._ask(kind, payload)
                return
            except _Refusal as error:
                is_late = asyncio.get_running_loop().time() > deadline and answers >= _DISK_ANSWERS
                if error.errno != EAGAIN or is_late:
                    raise
            await asyncio.sleep(_DISK_PAUSE)

    async def _sort(self) -> None:
        splitter = protocol.Splitter()
        try:
            while data := await self._reader.read(_READ):
                self._heard += 1
                for frame in splitter.feed(data):
                    self._handle(frame)
            self._lose(GuestLost("the agent's socket was closed"))
        except (OSError, protocol.ProtocolBroken) as error:
            self._lose(GuestLost(f"the agent's socket: {error}"))

    def _handle(self, frame: Frame) -> None:
        """Frames about what is not known (any more) are of no interest: the agent may not have heard of its end."""
        key = (frame.id, frame.stream)
        match frame.kind:
            case Kind.OK:
                _settle(self._asked.get(frame.id), frame.payload)
            case Kind.REFUSED:
                number, reason = protocol.read_refusal(frame.payload)
                _fail(self._asked.get(frame.id), _Refusal(reason, errno=number))
            case Kind.DATA if key in self._streams:
                self._streams[key].put(frame.payload)
            case Kind.CREDIT if key in self._grants:
                self._grants[key].add(protocol.read_number(frame.payload))
            case Kind.END if key in self._streams:
                self._streams.pop(key).finish()
            case Kind.END if key in self._grants:
                self._grants[key].fail(GuestRefused("nobody reads it any more"))
            case Kind.EXIT:
                exit = protocol.read_exit(frame.payload)
                _settle(self._exits.pop(frame.id, None), exit)
                if grant := self._grants.pop((frame.id, STDIN), None):
                    grant.fail(GuestRefused("the process has ended"))
            case Kind.DATA | Kind.CREDIT | Kind.END:
                pass
            case kind:
                raise protocol.ProtocolBroken(f"a frame of kind {kind} from the agent")

    def _forget(self, number: int) -> None:
        self._exits.pop(number, None)
        for stream in (STDIN, STDOUT, STDERR):
            self._streams.pop((number, stream), None)
            self._grants.pop((number, stream), None)

    def _lose(self, reason: GuestLost) -> None:
        if self._lost is not None:
            return
        self._lost = reason
        _settle(self._over, str(reason))
        for answer in self._asked.values():
            _fail(answer, reason)
        for exit in self._exits.values():
            _fail(exit, reason)
        for incoming in self._streams.values():
            incoming.fail(reason)
        for grant in self._grants.values():
            grant.fail(reason)


class AgentProcess:
    """A ``GuestProcess``."""

    def __init__(self, connection: AgentConnection, number: int, *, terminal: bool) -> None:
        self._connection = connection
        self._number = number
        self.pid = 0
        self.input = Grant()
        self.output = Incoming(lambda count: self._grant(STDOUT, count))
        self.error = Incoming(lambda count: self._grant(STDERR, count))
        if terminal:
            self.error.finish()
        self.exit: asyncio.Future[Exit] = _new_future()

    def stdout(self) -> AsyncIterator[bytes]:
        return self.output.chunks()

    def stderr(self) -> AsyncIterator[bytes]:
        return self.error.chunks()

    async def write_stdin(self, data: bytes) -> None:
        await self._connection.send_data(self._number, data, self.input)

    async def close_stdin(self) -> None:
        await self._connection.send(Frame(Kind.END, self._number, b"", STDIN))

    async def resize(self, *, rows: int, columns: int) -> None:
        await self._connection.resize(self._number, rows=rows, columns=columns)

    async def signal(self, number: int, *, whole_container: bool = False) -> None:
        await self._connection.signal(self._number, number, whole_container=whole_container)

    async def wait(self) -> Exit:
        return await asyncio.shield(self.exit)

    def _grant(self, stream: int, count: int) -> None:
        # A lost guest ends the stream; there is nobody to grant anything to.
        with suppress(GuestLost):
            self._connection.post(Frame(Kind.CREDIT, self._number, protocol.credit(count), stream))


class DialledConnection:
    """A ``GuestConnection``."""

    def __init__(self, connection: AgentConnection, number: int) -> None:
        self._connection = connection
        self._number = number
        self.room = Grant()
        self.received = Incoming(self._grant)

    def chunks(self) -> AsyncIterator[bytes]:
        return self.received.chunks()

    async def write(self, data: bytes) -> None:
        await self._connection.send_data(self._number, data, self.room)

    async def end(self) -> None:
        await self._connection.send(Frame(Kind.END, self._number, b"", STDIN))

    async def close(self) -> None:
        with suppress(GuestLost):
            await self._connection.hang_up(self._number)

    def _grant(self, count: int) -> None:
        with suppress(GuestLost):
            self._connection.post(Frame(Kind.CREDIT, self._number, protocol.credit(count), STDOUT))


class _Refusal(GuestRefused):
    """With the agent's errno."""

    def __init__(self, message: str, *, errno: int) -> None:
        super().__init__(message)
        self.errno = errno


def _understood(read: Callable[[bytes], T], answer: bytes) -> T:
    try:
        return read(answer)
    except protocol.ProtocolBroken as error:
        raise GuestLost(f"the agent's answer makes no sense: {error}") from error


def _new_future() -> asyncio.Future[Any]:
    """One that nobody need wait for: asyncio would complain of an error that nobody looked at."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future


def _settle(future: asyncio.Future[T] | None, value: T) -> None:
    if future is not None and not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any] | None, error: Exception) -> None:
    if future is not None and not future.done():
        future.set_exception(error)
