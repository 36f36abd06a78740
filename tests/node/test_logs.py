from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.node.fake_runtime import FakeRuntime

from kontinuum.foundation import virtual_time
from kontinuum.foundation.clock import VirtualClock
from kontinuum.node.log_rotation import FIRST_SECONDS, LEAST_SECONDS, Logs, older_than_kept, rotate
from kontinuum.node.logs import BadOptions, LogOptions, read, start_of_tail

STAMP = "2026-01-02T03:04:{:02}.123456789Z"


def raw(second: int, text: str, *, stream: str = "stdout", tag: str = "F") -> bytes:
    return f"{STAMP.format(second)} {stream} {tag} {text}\n".encode()


def answer(path: Path, options: LogOptions) -> bytes:
    async def main() -> bytes:
        return b"".join([piece async for piece in read(path, options, clock=VirtualClock(), is_over=lambda: True)])

    return virtual_time.run(main)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "0.log"
    path.write_bytes(b"".join(raw(second, f"line {second}") for second in range(5)))
    return path


def test_a_whole_log_is_what_the_process_wrote(log: Path) -> None:
    assert answer(log, LogOptions()) == b"line 0\nline 1\nline 2\nline 3\nline 4\n"


def test_a_line_that_came_in_parts_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(raw(1, "long ", tag="P") + raw(1, "line"))
    assert answer(path, LogOptions()) == b"long line\n"


def test_since_tail_limit_and_timestamps_combine(log: Path) -> None:
    since = LogOptions.of({"sinceTime": "2026-01-02T03:04:03Z"}, now=0)
    assert answer(log, since) == b"line 3\nline 4\n"
    assert answer(log, LogOptions(tail=3, limit=9)) == b"line 2\nli"
    assert answer(log, LogOptions(tail=1, timestamps=True)) == f"{STAMP.format(4)} line 4\n".encode()
    assert answer(log, LogOptions(tail=0)) == b""


def test_who_does_not_follow_gets_what_was_there_however_fast_it_grows(log: Path) -> None:
    async def main(options: LogOptions) -> bytes:
        answer = b""
        with log.open("ab", buffering=0) as writer:
            async for piece in read(log, options, clock=VirtualClock(), is_over=lambda: False):
                answer += piece
                if len(answer) < 1000:
                    writer.write(raw(6, "more"))
        return answer

    assert virtual_time.run(lambda: main(LogOptions(tail=2))) == b"line 3\nline 4\n"
    assert virtual_time.run(lambda: main(LogOptions())).endswith(b"line 4\nmore\n")


def test_options_that_make_no_sense_are_refused() -> None:
    for query in ({"tailLines": "-1"}, {"tailLines": "x"}, {"limitBytes": "0"}, {"sinceTime": "yesterday"}):
        with pytest.raises(BadOptions):
            LogOptions.of(query, now=0)


@given(st.lists(st.text(alphabet="ab\r ", max_size=5), max_size=30), st.integers(0, 40), st.booleans())
def test_the_tail_is_the_last_lines(lines: list[str], wanted: int, ends_open: bool) -> None:
    import io

    content = "".join(f"{line}\n" for line in lines) + ("open" if ends_open else "")
    stream = io.BytesIO(content.encode())
    position = start_of_tail(stream, wanted, len(stream.getvalue()))
    every = content.split("\n")[:-1] + (["open"] if ends_open else [])
    expected = every[len(every) - wanted :] if wanted < len(every) else every
    tail = content.encode()[position:].decode()
    assert tail.removesuffix("\n").split("\n") == expected if expected else tail == ""


def test_following_survives_a_rotation_and_ends_with_the_container(log: Path) -> None:
    async def main() -> list[bytes]:
        clock, over, pieces = VirtualClock(), False, list[bytes]()
        runtime = FakeRuntime(clock)

        async def follow() -> None:
            async for piece in read(log, LogOptions(follow=True, tail=1), clock=clock, is_over=lambda: over):
                pieces.append(piece)

        following = asyncio.create_task(follow())
        await clock.sleep(1)
        assert await rotate(runtime, "c1", log, max_size=10, max_files=3, now=clock.time())
        assert runtime.reopened == ["c1"]
        await clock.sleep(1)
        log.write_bytes(raw(10, "after"))
        await clock.sleep(1)
        with log.open("ab") as stream:
            stream.write(raw(11, "last"))
        over = True
        await following
        return pieces

    assert virtual_time.run(main) == [b"line 4\n", b"after\n", b"last\n"]


@pytest.mark.parametrize("bytes_a_second", [1_000, 2_000_000, 100_000_000])
def test_rotation_keeps_up_with_a_container_that_writes_as_fast_as_it_can(tmp_path: Path, bytes_a_second: int) -> None:
    largest = 10 << 20
    kept: list[int] = []

    async def main() -> None:
        clock, path = VirtualClock(), tmp_path / "0.log"
        runtime = FakeRuntime(clock)
        logs, pause = Logs(runtime, largest, 5), FIRST_SECONDS
        for _ in range(60):
            await clock.sleep(pause)
            with path.open("ab") as file:
                file.truncate(file.tell() + round(bytes_a_second * pause))
            pause = await logs.look({"c1": path}, after=pause, now=clock.time())
            kept.append(sum(one.stat().st_size for one in tmp_path.iterdir()))
        assert len(list(tmp_path.iterdir())) <= 5

    virtual_time.run(main)
    # A second passes before it is known how fast it writes, and a quarter of one between looks.
    assert max(kept) <= 5 * (largest + bytes_a_second * LEAST_SECONDS) + bytes_a_second * FIRST_SECONDS
    assert kept[-1] <= 5 * (largest + bytes_a_second * LEAST_SECONDS)


def test_a_runtime_that_cannot_reopen_leaves_the_log_where_it_was(log: Path) -> None:
    async def main() -> None:
        runtime = FakeRuntime(VirtualClock())
        runtime.failures["reopen_log"] = 1
        assert not await rotate(runtime, "c1", log, max_size=10, max_files=3, now=0)

    virtual_time.run(main)
    assert log.exists()


def test_the_oldest_rotated_files_go_first(log: Path) -> None:
    for hour in range(5):
        log.with_name(f"0.log.20260102-0{hour}0000").touch()
    assert [path.name for path in older_than_kept(log, 3)] == [f"0.log.20260102-0{hour}0000" for hour in (2, 1, 0)]
