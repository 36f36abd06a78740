"""One listening socket for every TCP port of a network namespace: a BPF program of the kind ``sk_lookup``.

The kernel asks the program which socket a new connection is for, before it looks for a listener of that port. Ours
always answers with the one socket. Unlike a rule of the packet filter it needs no program of others, leaves nothing
behind when its process is killed, and hands the connection over with the address that was dialled.

Source: https://docs.kernel.org/bpf/prog_sk_lookup.html, bpf(2). It is there since Linux 5.9.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from pathlib import Path

_SYSTEM_CALL = 321
"""bpf(2) on x86_64, the only processor that this is built for."""
_MAP_CREATE, _MAP_UPDATE, _PROGRAM_LOAD, _LINK_CREATE = 0, 2, 5, 28
_SOCKET_MAP, _LOOKUP_PROGRAM, _AT_LOOKUP = 15, 30, 36
_LOOK_UP, _RELEASE, _ASSIGN = 1, 86, 124
_PASS = 1
_libc = ctypes.CDLL(None, use_errno=True)


def answer_every_port(namespace: Path, listener: socket.socket) -> int:
    """A descriptor; until it is closed, ``listener`` (IPv4, of that namespace) accepts what is dialled there.

    Raises OSError: EPERM without CAP_NET_ADMIN and CAP_BPF, EINVAL from a kernel that is too old.
    """
    sockets = _bpf(_MAP_CREATE, "IIIII", _SOCKET_MAP, 4, 8, 1, 0)
    try:
        key, value = _Memory(struct.pack("I", 0)), _Memory(struct.pack("Q", listener.fileno()))
        _bpf(_MAP_UPDATE, "IIQQQ", sockets, 0, key.address, value.address, 0)
        program = _load(_program(sockets))
        try:
            place = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return _bpf(_LINK_CREATE, "IIII", program, place, _AT_LOOKUP, 0)
            finally:
                os.close(place)
        finally:
            os.close(program)
    finally:
        os.close(sockets)


class _Memory:
    """Bytes at an address, for as long as the object is kept."""

    def __init__(self, content: bytes) -> None:
        self._buffer = ctypes.create_string_buffer(content)
        self.address = ctypes.addressof(self._buffer)


def _bpf(command: int, layout: str, *values: int | bytes) -> int:
    attributes = ctypes.create_string_buffer(struct.pack(layout, *values), 128)
    answer: int = _libc.syscall(_SYSTEM_CALL, command, attributes, len(attributes))
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"bpf: {os.strerror(number)}")
    return answer


def _load(program: bytes) -> int:
    code, license = _Memory(program), _Memory(b"GPL")
    layout = "IIQQIIQII16sII"
    values = (_LOOKUP_PROGRAM, len(program) // 8, code.address, license.address, 0, 0, 0, 0, 0, b"", 0, _AT_LOOKUP)
    return _bpf(_PROGRAM_LOAD, layout, *values)


def _program(sockets: int) -> bytes:
    """``if (socket = sockets[0]) { assign(context, socket); release(socket); } return PASS;``"""
    return b"".join(
        (
            _step(0xBF, 6, 1),  # r6 = context
            _step(0x62, 10, offset=-4),  # *(u32 *)(frame - 4) = 0, the key
            _step(0x18, 1, 1, number=sockets),  # r1 = sockets, in two steps
            _step(0x00),
            _step(0xBF, 2, 10),  # r2 = frame - 4
            _step(0x07, 2, number=-4),
            _step(0x85, number=_LOOK_UP),
            _step(0x15, offset=7),  # if (!r0) return
            _step(0xBF, 7),  # r7 = r0
            _step(0xBF, 1, 6),  # r1, r2, r3 = context, socket, 0
            _step(0xBF, 2, 7),
            _step(0xB7, 3),
            _step(0x85, number=_ASSIGN),
            _step(0xBF, 1, 7),
            _step(0x85, number=_RELEASE),
            _step(0xB7, number=_PASS),
            _step(0x95),
        )
    )


def _step(code: int, target: int = 0, source: int = 0, *, offset: int = 0, number: int = 0) -> bytes:
    return struct.pack("<BBhi", code, target | source << 4, offset, number)
