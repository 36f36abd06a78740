"""The wire survives whatever the other end sends, and both halves of it agree."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kontinuum.foundation.errors import Refused
from kontinuum.runtime.guest import protocol
from kontinuum.runtime.guest.port import ContainerStats, Exit, Identity, Interface
from kontinuum.runtime.guest.protocol import HEADER, Frame, Kind, ProtocolBroken, Splitter, TooLarge

AGENT = Path(protocol.__file__).parent / "agent"

frames = st.builds(
    Frame,
    kind=st.sampled_from(list(Kind)).map(int),
    id=st.integers(0, 2**32 - 1),
    payload=st.binary(max_size=2000),
    stream=st.integers(0, 255),
)
READERS: list[Callable[[bytes], Any]] = [
    protocol.read_hello,
    protocol.read_number,
    protocol.read_refusal,
    protocol.read_exit,
    protocol.read_stats,
    protocol.read_numbers,
]


@given(st.lists(frames, max_size=20), st.lists(st.integers(1, 700), min_size=1))
def test_frames_come_out_as_they_went_in_however_the_bytes_are_cut(sent: list[Frame], cuts: list[int]) -> None:
    wire = b"".join(protocol.encode(frame) for frame in sent)
    splitter, received, at, turn = Splitter(), [], 0, 0
    while at < len(wire):
        size = cuts[turn % len(cuts)]
        received += list(splitter.feed(wire[at : at + size]))
        at, turn = at + size, turn + 1
    assert received == sent


@given(st.lists(st.binary(max_size=300)))
@example([HEADER.pack(protocol.REQUEST_LIMIT + 1, Kind.OK, 0, 0, 1)])
@example([HEADER.pack(protocol.DATA_LIMIT + 1, Kind.DATA, 0, 0, 1)])
def test_arbitrary_bytes_are_frames_or_a_broken_protocol_and_never_anything_else(pieces: list[bytes]) -> None:
    splitter = Splitter()
    try:
        for piece in pieces:
            for frame in splitter.feed(piece):
                assert len(frame.payload) <= protocol.REQUEST_LIMIT
    except ProtocolBroken:
        pass


@pytest.mark.parametrize("read", READERS)
@given(payload=st.binary(max_size=200))
def test_arbitrary_payloads_are_values_or_a_broken_protocol(read: Callable[[bytes], Any], payload: bytes) -> None:
    with contextlib.suppress(ProtocolBroken):
        read(payload)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_stats_are_read_in_the_order_in_which_the_agent_writes_them(first: int, last: int) -> None:
    payload = protocol.Writer().u64(first).u64(2).u64(3).u64(4).u64(last).done()
    assert protocol.read_stats(payload) == ContainerStats(first, 2, 3, 4, last)


def test_an_exit_tells_status_and_memory() -> None:
    assert protocol.read_exit(protocol.Writer().u32(137).u8(1).done()) == Exit(137, out_of_memory=True)


def test_a_count_that_cannot_be_true_is_refused_before_anything_is_made_for_it() -> None:
    with pytest.raises(ProtocolBroken, match="items"):
        protocol.read_numbers(protocol.Writer().u32(2**32 - 1).done())


def test_a_text_with_a_zero_inside_is_refused_because_the_kernel_would_cut_it() -> None:
    with pytest.raises(Refused, match="zero byte"):
        protocol.text("a\0b")


def test_a_request_that_no_frame_can_hold_is_refused_here_and_not_by_the_agent() -> None:
    with pytest.raises(TooLarge):
        protocol.encode(Frame(Kind.START_PROCESS, 1, bytes(protocol.REQUEST_LIMIT + 1)))


def test_more_interfaces_than_a_machine_has_are_refused() -> None:
    interfaces = (Interface("eth0", "02:00:00:00:00:01", 1500, (), ()),) * 9
    with pytest.raises(Refused, match="at most 8"):
        protocol.identify(Identity("pod", 0.0, b"x", "id", interfaces))


def test_the_agents_numbers_are_ours() -> None:
    header = (AGENT / "frames.h").read_text()
    kinds = {name: int(number) for name, number in re.findall(r"KIND_(\w+) = (\d+)", header)}
    assert kinds == {kind.name: kind.value for kind in Kind}
    assert f"PROTOCOL_VERSION {protocol.VERSION}u" in header
    assert f"FRAME_HEADER {HEADER.size}u" in header
    assert f"REQUEST_LIMIT (1u << {protocol.REQUEST_LIMIT.bit_length() - 1})" in header
    assert f"FILE_LIMIT ({protocol.FILE_LIMIT >> 10}u << 10)" in (AGENT / "requests.c").read_text()
    assert f"DATA_LIMIT ({protocol.DATA_LIMIT >> 10}u << 10)" in header
    assert f"INITIAL_CREDIT ({protocol.INITIAL_CREDIT >> 10}u << 10)" in header
