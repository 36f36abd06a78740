"""Two protocols of one process that talk as over a connection, without one: bytes arrive after a delay, in order.

In virtual time the delay costs nothing, and with a delay from a seeded generator the same life can be lived again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

AnyProtocol = asyncio.Protocol | asyncio.BufferedProtocol
Delay = Callable[[], float]
"""Seconds from one end to the other; asked for every piece."""


def _none() -> float:
    return 0.0


WINDOW = 1024 * 1024
"""Bytes that may be under way before any wait to be sent: the buffers of the systems at both ends. With less, whoever
writes much would be held up by the delay alone, as on no real connection."""
HIGH_WATER, LOW_WATER = 256 * 1024, 64 * 1024
"""Bytes that wait, at which their writer is told to pause, and to go on, unless it has said others."""


def join(client: AnyProtocol, server: AnyProtocol, *, inwards: Delay = _none, outwards: Delay = _none) -> None:
    """Connect the two; each is told its transport at once, the server first.

    ``inwards`` are the delays of what the client is sent, ``outwards`` of what it sends.
    """
    loop = asyncio.get_running_loop()
    near = _End(loop, client, inwards, {"peername": ("server", 0)})
    far = _End(loop, server, outwards, {"peername": ("client", 0)})
    near.other, far.other = far, near
    server.connection_made(far)
    client.connection_made(near)


class _End(asyncio.Transport):
    """What one protocol writes to; ``arriving`` is what the other has written to it."""

    other: _End

    def __init__(
        self, loop: asyncio.AbstractEventLoop, protocol: AnyProtocol, delay: Delay, extra: Mapping[str, Any]
    ) -> None:
        super().__init__(dict(extra))
        self._loop = loop
        self._protocol: asyncio.BaseProtocol = protocol
        self._delay = delay
        self._arriving: deque[bytes | None] = deque()
        """In order; None is the end."""
        self._size = 0
        self._last = 0.0
        self._due = 0
        """Pieces at the front that have been under way for long enough."""
        self._is_paused = False
        self._is_closing = False
        self._holds_writer = False
        self._high, self._low = HIGH_WATER, LOW_WATER

    # -- what the protocol does

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data and not self._is_closing:
            self.other.expect(bytes(data))

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self.other.expect(None)
            self._loop.call_soon(self._lose)

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._is_closing

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._loop.call_soon(self._deliver)

    def is_reading(self) -> bool:
        return not self._is_paused and not self._is_closing

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_write_buffer_size(self) -> int:
        return self.other.waiting

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = HIGH_WATER if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    # -- what arrives

    @property
    def waiting(self) -> int:
        """Bytes that have been written and are not even under way."""
        return max(0, self._size - WINDOW)

    def expect(self, piece: bytes | None) -> None:
        """One piece is under way."""
        self._arriving.append(piece)
        self._size += len(piece or b"")
        # Never sooner than the one before: a connection keeps the order, whatever the delays are.
        self._last = max(self._last, self._loop.time() + self._delay())
        self._loop.call_at(self._last, self._arrived)
        if self.waiting > self.other._high and not self._holds_writer:
            self._holds_writer = True
            self.other._protocol.pause_writing()

    def _arrived(self) -> None:
        self._due += 1
        self._deliver()

    def _deliver(self) -> None:
        while self._due and not self._is_paused and not self._is_closing:
            self._due -= 1
            piece = self._arriving.popleft()
            if piece is None:
                self._is_closing = True
                self._loop.call_soon(self._lose)
                return
            self._size -= len(piece)
            self._hand_over(piece)
        if self._holds_writer and self.waiting <= self.other._low:
            self._holds_writer = False
            self.other._protocol.resume_writing()

    def _hand_over(self, piece: bytes) -> None:
        protocol = self._protocol
        if isinstance(protocol, asyncio.Protocol):
            protocol.data_received(piece)
        elif isinstance(protocol, asyncio.BufferedProtocol):
            while piece and not self._is_closing:
                room = memoryview(protocol.get_buffer(len(piece)))
                part, piece = piece[: len(room)], piece[len(room) :]
                room[: len(part)] = part
                protocol.buffer_updated(len(part))

    def _lose(self) -> None:
        self._arriving.clear()
        self._due = self._size = 0
        self._protocol.connection_lost(None)
