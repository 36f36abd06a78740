"""The words on the wire between a shim and the agent in its machine: frames, and the values inside them.

    frame   length u32 | kind u8 | stream u8 | 0 u16 | id u32 | payload (length bytes)
    text    length u32 (of bytes and final zero) | UTF-8 bytes | 0
    bytes   length u32 | bytes
    list    count u32 | items

All little-endian. The host asks (HELLO ... FORGET, CLOCK, DIAL, MOUNT_MEMORY) under an id that it chooses; the agent
answers each with OK or REFUSED under the same id. A process, a tree and a connection are known by the id of the
request that began them. Streams (0 standard input, 1 output, 2 error; of a connection 0 to it, 1 from it) carry DATA
in either direction, at most as much as the receiver has granted by CREDIT; ``INITIAL_CREDIT`` is granted from the
start. END ends a stream: from who sends, there is no more; from who receives, nobody takes it any more. EXIT says that
a process is over.

Neither end trusts the other: sizes are bounded before anything is kept, and a frame that breaks a rule ends the
conversation. Here is no input or output; ``agent/frames.[ch]`` is the other half.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from kontinuum.foundation.errors import Refused
from kontinuum.runtime.guest.port import (
    ContainerSpec,
    ContainerStats,
    Exit,
    Identity,
    Interface,
    ProcessSpec,
    VolumeDisk,
)

VERSION = 6
HEADER = struct.Struct("<IBBHI")
REQUEST_LIMIT = 1 << 20
DATA_LIMIT = 64 << 10
FILE_LIMIT = 64 << 10
"""What READ_FILE answers at most."""
REASON_LIMIT = 2000
INITIAL_CREDIT = 128 << 10
T = TypeVar("T")
STDIN, STDOUT, STDERR = 0, 1, 2


class ProtocolBroken(Refused):
    """What the other end sent means nothing, or more than it was granted."""


class TooLarge(Refused):
    """A request does not fit into a frame."""


class Kind(IntEnum):
    """See the module."""

    HELLO = 1
    IDENTIFY = 2
    ADD_CONTAINER = 3
    REMOVE_CONTAINER = 4
    UPDATE_CONTAINER = 5
    START_PROCESS = 6
    SIGNAL = 7
    RESIZE = 8
    WRITE_TREE = 9
    STATS = 10
    PROCESSES = 11
    READ_FILE = 12
    MOUNT_DISK = 13
    UNMOUNT = 14
    FORGET = 15
    DATA = 16
    CREDIT = 17
    END = 18
    CLOCK = 19
    DIAL = 20
    MOUNT_MEMORY = 21
    OK = 32
    REFUSED = 33
    EXIT = 34


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; ``kind`` is a number that may be none of ``Kind``."""

    kind: int
    id: int
    payload: bytes = b""
    stream: int = 0


@dataclass(frozen=True, slots=True)
class Hello:
    """How an agent introduces itself."""

    version: int
    memory_bytes: int
    kernel_release: str


def encode(frame: Frame) -> bytes:
    """The frame's bytes. Raises TooLarge."""
    limit = DATA_LIMIT if frame.kind in (Kind.DATA, Kind.CREDIT, Kind.END) else REQUEST_LIMIT
    if len(frame.payload) > limit:
        raise TooLarge(f"a frame of {len(frame.payload)} bytes; the agent takes {limit}")
    return HEADER.pack(len(frame.payload), frame.kind, frame.stream, 0, frame.id) + frame.payload


class Splitter:
    """Bytes in, whole frames out. Keeps at most one frame of what it was fed."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that ``data`` completes. Raises ProtocolBroken; then nothing more may be fed."""
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= HEADER.size:
            length, kind, stream, zero, number = HEADER.unpack_from(self._buffer, at)
            if zero or length > (DATA_LIMIT if kind in (Kind.DATA, Kind.CREDIT, Kind.END) else REQUEST_LIMIT):
                raise ProtocolBroken(f"a frame of kind {kind} and {length} bytes")
            end = at + HEADER.size + length
            if len(self._buffer) < end:
                break
            yield Frame(kind, number, bytes(memoryview(self._buffer)[at + HEADER.size : end]), stream)
            at = end
        del self._buffer[:at]


class Writer:
    """Puts values one after the other."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def u8(self, value: int) -> Writer:
        self._parts.append(struct.pack("<B", value))
        return self

    def u32(self, value: int) -> Writer:
        self._parts.append(struct.pack("<I", value))
        return self

    def u64(self, value: int) -> Writer:
        self._parts.append(struct.pack("<Q", value))
        return self

    def data(self, value: bytes) -> Writer:
        self._parts += (struct.pack("<I", len(value)), value)
        return self

    def text(self, value: str) -> Writer:
        """Raises Refused: the kernel's strings, and so the agent's, end at a zero."""
        encoded = value.encode(errors="surrogateescape")
        if b"\0" in encoded:
            raise Refused(f"{value!r} contains a zero byte")
        return self.data(encoded + b"\0")

    def texts(self, values: Iterable[str]) -> Writer:
        items = list(values)
        self.u32(len(items))
        for item in items:
            self.text(item)
        return self

    def done(self) -> bytes:
        return b"".join(self._parts)


class Reader:
    """Takes values off one after the other. Every method raises ProtocolBroken when they are not there."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._at = 0

    def u8(self) -> int:
        return self._take(1)[0]

    def u32(self) -> int:
        return int.from_bytes(self._take(4), "little")

    def u64(self) -> int:
        return int.from_bytes(self._take(8), "little")

    def text(self) -> str:
        encoded = self._take(self.u32())
        if not encoded.endswith(b"\0"):
            raise ProtocolBroken("a text without an end")
        return encoded[:-1].decode(errors="replace")

    def count(self, *, least: int) -> int:
        """How many items of at least ``least`` bytes follow."""
        count = self.u32()
        if count * least > len(self._payload) - self._at:
            raise ProtocolBroken(f"{count} items in {len(self._payload) - self._at} bytes")
        return count

    def end(self) -> None:
        if self._at != len(self._payload):
            raise ProtocolBroken(f"{len(self._payload) - self._at} bytes too many")

    def _take(self, length: int) -> bytes:
        taken = self._payload[self._at : self._at + length]
        if len(taken) != length:
            raise ProtocolBroken("a value that is cut short")
        self._at += length
        return taken


def identify(identity: Identity, *, interface_limit: int = 8) -> bytes:
    """The payload of IDENTIFY. Raises Refused for what no machine can be."""
    if len(identity.interfaces) > interface_limit:
        raise Refused(f"{len(identity.interfaces)} interfaces; a machine has at most {interface_limit}")
    writer = Writer().u64(int(identity.unix_time * 1e9)).data(identity.entropy)
    writer.text(identity.hostname).text(identity.machine_id).u32(len(identity.sysctls))
    for name, value in sorted(identity.sysctls.items()):
        writer.text(name).text(value)
    writer.u32(len(identity.interfaces))
    for interface in identity.interfaces:
        _write_interface(writer, interface)
    return writer.done()


def clock(unix_time: float | None) -> bytes:
    """The payload of CLOCK: what the guest's clock is set to, or nothing but a question."""
    return Writer().u64(0 if unix_time is None else int(unix_time * 1e9)).done()


def _write_interface(writer: Writer, interface: Interface) -> None:
    mac = bytes.fromhex(interface.mac.replace(":", ""))
    writer.text(interface.name).data(mac).u32(interface.mtu).texts(interface.addresses).u32(len(interface.routes))
    for destination, gateway in interface.routes:
        writer.text(destination).text(gateway)


def add_container(spec: ContainerSpec) -> bytes:
    """The payload of ADD_CONTAINER."""
    writer = Writer().text(spec.id).text(spec.slot).text(spec.file_system).text(spec.layer)
    writer.u8(spec.read_only_root)
    writer.u64(spec.memory_limit_bytes).u64(spec.cpu_quota_microseconds).u64(spec.pids_limit)
    writer.data(spec.filter.program).u32(spec.filter.flags).u32(len(spec.mounts))
    for mount in spec.mounts:
        writer.text(mount.destination).text(mount.type).text(mount.source).texts(mount.options)
    return writer.done()


def remove_container(container: str, *, layer: str, keep_layer: bool) -> bytes:
    """The payload of REMOVE_CONTAINER."""
    return Writer().text(container).text(layer).u8(keep_layer).done()


def update_container(container: str, *, memory_bytes: int, cpu_quota_microseconds: int, pids: int) -> bytes:
    """The payload of UPDATE_CONTAINER."""
    return Writer().text(container).u64(memory_bytes).u64(cpu_quota_microseconds).u64(pids).done()


def start_process(spec: ProcessSpec) -> bytes:
    """The payload of START_PROCESS."""
    writer = Writer().text(spec.container).texts(spec.arguments).texts(spec.environment).text(spec.directory)
    writer.u32(spec.user).u32(spec.group).u32(len(spec.additional_groups))
    for group in spec.additional_groups:
        writer.u32(group)
    writer.u64(spec.capabilities).u8(spec.no_new_privileges).u8(spec.terminal).u32(spec.rows).u32(spec.columns)
    writer.u8(spec.stdin).u32(len(spec.rlimits))
    for resource, soft, hard in spec.rlimits:
        writer.u32(resource).u64(soft).u64(hard)
    return writer.done()


def signal(process: int, number: int, *, whole_container: bool) -> bytes:
    """The payload of SIGNAL."""
    return Writer().u32(process).u32(number).u8(whole_container).done()


def resize(process: int, *, rows: int, columns: int) -> bytes:
    """The payload of RESIZE."""
    return Writer().u32(process).u32(rows).u32(columns).done()


def mount_disk(disk: VolumeDisk) -> bytes:
    """The payload of MOUNT_DISK."""
    writer = Writer().text(disk.slot).text(disk.file_system).text(disk.path)
    return writer.u8(disk.group is not None).u32(disk.group or 0).done()


def mount_memory(path: str, size_bytes: int) -> bytes:
    """The payload of MOUNT_MEMORY."""
    return Writer().text(path).u64(size_bytes).done()


def text(value: str) -> bytes:
    """The payload of requests that name one thing, as WRITE_TREE, READ_FILE and UNMOUNT do."""
    return Writer().text(value).done()


def dial(port: int) -> bytes:
    """The payload of DIAL."""
    return Writer().u32(port).done()


def credit(count: int) -> bytes:
    """The payload of CREDIT, in bytes."""
    return Writer().u32(count).done()


def _parser(parse: Callable[[Reader], T]) -> Callable[[bytes], T]:
    def whole(payload: bytes) -> T:
        reader = Reader(payload)
        value = parse(reader)
        reader.end()
        return value

    return whole


@_parser
def read_hello(reader: Reader) -> Hello:
    return Hello(version=reader.u32(), memory_bytes=reader.u64(), kernel_release=reader.text())


@_parser
def read_number(reader: Reader) -> int:
    return reader.u32()


@_parser
def read_clock(reader: Reader) -> float:
    """What the guest's clock said, in seconds since the epoch."""
    return reader.u64() / 1e9


@_parser
def read_refusal(reader: Reader) -> tuple[int, str]:
    """(errno, reason). The reason goes into events and logs, so that not all of what a guest may say is repeated."""
    return reader.u32(), reader.text()[:REASON_LIMIT]


@_parser
def read_exit(reader: Reader) -> Exit:
    return Exit(status=reader.u32() & 0xFF, out_of_memory=bool(reader.u8()))


@_parser
def read_stats(reader: Reader) -> ContainerStats:
    return ContainerStats(
        cpu_nanoseconds=reader.u64(),
        memory_bytes=reader.u64(),
        memory_inactive_file_bytes=reader.u64(),
        memory_limit_bytes=reader.u64(),
        processes=reader.u64(),
    )


@_parser
def read_numbers(reader: Reader) -> tuple[int, ...]:
    return tuple(reader.u32() for _ in range(reader.count(least=4)))
