"""Bytes through a pipe in memory arrive whole, in order, after their delay, and no faster than they are read."""

from __future__ import annotations

import asyncio
import random

from hypothesis import given
from hypothesis import strategies as st

from kontinuum.foundation import pipes, virtual_time


class Noting(asyncio.Protocol):
    """Notes what comes, and when."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.came: list[tuple[float, bytes]] = []
        self.is_held = self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.came.append((asyncio.get_running_loop().time(), data))

    def pause_writing(self) -> None:
        self.is_held = True

    def resume_writing(self) -> None:
        self.is_held = False

    def connection_lost(self, error: Exception | None) -> None:
        assert not self.is_lost, "told twice"
        self.is_lost = True

    @property
    def text(self) -> bytes:
        return b"".join(data for _, data in self.came)


class Buffered(asyncio.BufferedProtocol):
    """Takes three bytes at a time."""

    def __init__(self) -> None:
        self.room = bytearray(3)
        self.text = b""

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.room

    def buffer_updated(self, nbytes: int) -> None:
        self.text += self.room[:nbytes]


def test_who_has_little_room_gets_all_in_parts() -> None:
    async def main() -> None:
        one, other = Noting(), Buffered()
        pipes.join(one, other)
        one.transport.write(b"0123456789")
        await asyncio.sleep(1)
        assert other.text == b"0123456789"

    virtual_time.run(main)


@given(st.lists(st.binary(min_size=1, max_size=3), max_size=20), st.integers(0, 100))
def test_the_order_is_kept_whatever_the_delays(pieces: list[bytes], seed: int) -> None:
    async def main() -> None:
        chance, one, other = random.Random(seed), Noting(), Noting()
        pipes.join(one, other, outwards=lambda: chance.uniform(0, 1))
        for piece in pieces:
            one.transport.write(piece)
            await asyncio.sleep(chance.choice([0, 0.1]))
        one.transport.close()
        one.transport.write(b"too late")
        await asyncio.sleep(10)
        assert other.text == b"".join(pieces)
        assert one.is_lost and other.is_lost and other.transport.is_closing()

    virtual_time.run(main)


def test_a_piece_takes_its_delay_in_each_direction() -> None:
    async def main() -> None:
        one, other = Noting(), Noting()
        pipes.join(one, other, outwards=lambda: 2.0, inwards=lambda: 3.0)
        one.transport.write(b"there")
        await asyncio.sleep(5)
        other.transport.write(b"back")
        await asyncio.sleep(5)
        assert (other.came, one.came) == ([(2.0, b"there")], [(8.0, b"back")])

    virtual_time.run(main)


def test_who_does_not_read_holds_up_who_writes() -> None:
    async def main() -> None:
        one, other = Noting(), Noting()
        pipes.join(one, other)
        other.transport.pause_reading()
        one.transport.write(b"x" * pipes.WINDOW)
        assert not one.is_held and one.transport.get_write_buffer_size() == 0, "under way, not waiting"
        while not one.is_held:
            one.transport.write(b"x" * 1000)
        await asyncio.sleep(1)
        assert other.came == [] and one.transport.get_write_buffer_size() > pipes.HIGH_WATER
        other.transport.resume_reading()
        await asyncio.sleep(1)
        assert not one.is_held and one.transport.get_write_buffer_size() == 0
        one.transport.set_write_buffer_limits(high=4000)
        other.transport.pause_reading()
        one.transport.write(b"x" * pipes.WINDOW)
        while not one.is_held:
            one.transport.write(b"x" * 1000)
        assert one.transport.get_write_buffer_size() == 5000
        one.transport.write(b"last")
        one.transport.close()
        await asyncio.sleep(1)
        assert not other.is_lost, "what was sent before the end comes before it"
        other.transport.resume_reading()
        await asyncio.sleep(1)
        assert other.text.endswith(b"last") and other.is_lost

    virtual_time.run(main)
