"""One HTTP/1.1 connection to an API server: a request's bytes out, the answer's body in, one exchange at a time.

    idle ──send──▶ waiting ──head──▶ receiving ──end of body──▶ idle
      │               │                  │
      └───────────────┴──── lost, too late, broken, dropped ──▶ closed

Only what API servers and the proxies before them do: bodies with a length, in chunks, or until the connection ends; no
compression (nobody is asked for it), no pipelining. It takes a third of the processor time of a general client.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import cast

from kontinuum.client.errors import Unreachable

HEAD_BYTES = 65536
"""No server's head is longer."""
READ_BYTES = 64 * 1024
"""What is read at once; more comes in several reads."""
UNREAD_BYTES = 1 << 20
"""A body that is not read as fast as it comes waits in the network beyond this."""
_WITHOUT_BODY = (204, 304)


class Connection(asyncio.BufferedProtocol):
    """See the module. ``room`` may be shared: each read is used up before the next one.

    For protocols that bring no room of their own uvloop makes an object of 256 KB at each read of a TLS connection, and
    then a smaller one of it: so much memory is mapped, moved and unmapped for each answer and each event.
    """

    def __init__(self, server: str, room: memoryview | None = None) -> None:
        self._room = room if room is not None else memoryview(bytearray(READ_BYTES))
        self.idle_since = 0.0
        self.is_open = False
        self.is_fresh = True
        """Nothing was ever answered on it. A used one may have been closed by the other side just now."""
        self._server = server
        self._transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._exchange: Exchange | None = None

    def begin(self, content: bytes, *, seconds: float, is_stream: bool) -> Exchange:
        """Send a request. An answer must be complete within ``seconds``; a stream may not be silent for so long."""
        exchange = self._exchange = Exchange(self, self._server, seconds=seconds, is_stream=is_stream)
        self._transport.write(content)
        return exchange

    def close(self) -> None:
        """Close it for good; what is under way breaks."""
        if self.is_open:
            self.is_open = False
            self._transport.abort()

    def pause(self) -> None:
        if self.is_open:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self.is_open:
            self._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of no common class.
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        self.take_in(self._room[:nbytes])

    def take_in(self, data: bytes | memoryview) -> None:
        """What has come."""
        exchange = self._exchange
        if exchange is None:
            # Nobody has asked for anything: it is about to be closed (408), or no HTTP server at all.
            self.close()
            return
        exchange.heard()
        self._buffer += data
        try:
            is_over = exchange.feed(self._buffer)
        except ValueError as error:
            exchange.fail(f"the answer is no HTTP: {error}")
            self.close()
            return
        if is_over:
            self._end()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lost(error)

    def _end(self) -> None:
        exchange, self._exchange = self._exchange, None
        assert exchange is not None
        self.is_fresh = False
        if self._buffer or not exchange.can_be_followed:
            self.close()
        self.idle_since = self._loop.time()
        exchange.finish()


class Exchange:
    """One request's answer, as it arrives."""

    def __init__(self, connection: Connection, server: str, *, seconds: float, is_stream: bool) -> None:
        self.status = 0
        self.is_answered = False
        """Its end has been seen; whether by success or not."""
        self.can_be_followed = True
        self._connection = connection
        self._server = server
        self._seconds = seconds
        self._is_stream = is_stream
        self._loop = asyncio.get_running_loop()
        self._body = _Body()
        self._chunks: deque[bytes] = deque()
        self._unread = 0
        self._is_paused = False
        self._error: Unreachable | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._heard = self._loop.time()
        self._timer = self._loop.call_at(self._heard + seconds, self._too_late)

    async def wait_head(self) -> None:
        """Return when ``status`` is known. Raises Unreachable."""
        while not self.status:
            await self._wait()

    async def read(self) -> bytes:
        """The whole body. Raises Unreachable if it does not come."""
        while not self.is_answered:
            self._let_in()
            await self._wait()
        self._raise()
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        return body

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body in the pieces in which it comes. Raises Unreachable after the last one that came."""
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._unread -= len(chunk)
                yield chunk
            if self.is_answered:
                self._raise()
                return
            self._let_in()
            await self._wait()

    def drop(self) -> None:
        """Nobody wants the rest of it."""
        if not self.is_answered:
            self.fail("it was given up")
            self._connection.close()

    def heard(self) -> None:
        self._heard = self._loop.time()

    def feed(self, buffer: bytearray) -> bool:
        """Take what belongs to the answer; True at its end. Raises ValueError for what is no HTTP."""
        if not self.status and not self._take_head(buffer):
            return False
        for chunk in self._body.take(buffer):
            self._chunks.append(chunk)
            self._unread += len(chunk)
        if self._is_stream and self._unread > UNREAD_BYTES and not self._is_paused:
            self._is_paused = True
            self._connection.pause()
        if self._body.is_over:
            return True
        if self._is_stream:
            self._wake()
        return False

    def finish(self) -> None:
        self.is_answered = True
        self._timer.cancel()
        self._wake()

    def lost(self, error: Exception | None) -> None:
        if self._body.is_until_the_end and error is None:
            self.finish()
        else:
            self.fail(str(error) if error is not None and str(error) else "the server closed the connection")

    def fail(self, why: str) -> None:
        if not self.is_answered:
            self._error = Unreachable(f"talking to {self._server}: {why}")
            self.finish()

    def _take_head(self, buffer: bytearray) -> bool:
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            head = buffer[:end].decode("latin-1")
            del buffer[: end + 4]
            if status := self._read_head(head):
                self.status = status
                self._wake()
                return True
        if len(buffer) > HEAD_BYTES:
            raise ValueError("its head has no end")
        return False

    def _read_head(self, head: str) -> int:
        """The status; 0 for an interim one (1xx), after which the real one follows."""
        first, *lines = head.split("\r\n")
        version, _, rest = first.partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise ValueError(repr(first[:80]))
        status = int(rest[:3])
        if status < 200:
            return 0
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        connection = headers.get("connection", "").lower()
        self.can_be_followed = "close" not in connection and (version != "HTTP/1.0" or "keep-alive" in connection)
        if status in _WITHOUT_BODY:
            self._body.left = 0
        elif "chunked" in headers.get("transfer-encoding", "").lower():
            self._body.is_chunked = True
        elif "content-length" in headers:
            self._body.left = int(headers["content-length"])
        else:
            self._body.is_until_the_end = True
        return status

    def _let_in(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._connection.resume()

    def _too_late(self) -> None:
        until = self._heard + self._seconds
        if self._is_stream and self._loop.time() < until:
            self._timer = self._loop.call_at(until, self._too_late)
            return
        if self._is_paused:
            # It is our own reader who is slow.
            self._timer = self._loop.call_later(self._seconds, self._too_late)
            return
        self.fail(f"no answer within {self._seconds:g} s")
        self._connection.close()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    async def _wait(self) -> None:
        self._raise()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if not self.status:
            self._raise()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Body:
    """Where one body ends, by whichever of the three rules its head has named."""

    def __init__(self) -> None:
        self.left = -1
        """Bytes still to come, of the body or of the present chunk; -1: not known (yet)."""
        self.is_chunked = False
        self.is_until_the_end = False
        self._is_last = False

    @property
    def is_over(self) -> bool:
        return self.left == 0 and not self.is_chunked

    def take(self, buffer: bytearray) -> list[bytes]:
        """What has come of it; ``buffer`` keeps what cannot be read yet. Raises ValueError."""
        if self.is_chunked:
            return self._take_chunks(buffer)
        if self.is_until_the_end or len(buffer) <= self.left:
            taken = bytes(buffer)
            buffer.clear()
        else:
            taken = bytes(buffer[: self.left])
            del buffer[: self.left]
        if not self.is_until_the_end:
            self.left -= len(taken)
        return [taken] if taken else []

    def _take_chunks(self, buffer: bytearray) -> list[bytes]:
        found = []
        start = 0
        while self.is_chunked:
            if self.left < 0:
                end = buffer.find(b"\r\n", start)
                if end < 0:
                    if len(buffer) - start > HEAD_BYTES:
                        raise ValueError("a chunk's size has no end")
                    break
                line = bytes(buffer[start:end])
                start = end + 2
                if self._is_last:
                    # Trailers, which nobody reads, and the empty line after them.
                    if not line:
                        self.is_chunked, self.left = False, 0
                elif (size := int(line.partition(b";")[0], 16)) > 0:
                    self.left = size
                else:
                    self._is_last = True
                continue
            piece = bytes(buffer[start : start + self.left])
            if piece:
                found.append(piece)
                start += len(piece)
                self.left -= len(piece)
            if self.left or len(buffer) - start < 2:
                break
            if buffer[start : start + 2] != b"\r\n":
                raise ValueError("a chunk is longer than it says")
            start += 2
            self.left = -1
        del buffer[:start]
        return found
