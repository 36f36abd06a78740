"""Container logs in the CRI's format: ``2026-01-02T03:04:05.678901234Z stdout F the line``.

``read`` yields what the API's ``log`` subresource answers. A log is followed by its path, so that a rotation (the old
file renamed, a new one under the old name) loses nothing.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kontinuum.foundation.clock import Clock, parse_rfc3339
from kontinuum.foundation.errors import Refused

BLOCK = 64 << 10
LOOK_AGAIN_SECONDS = 0.1


class BadOptions(Refused):
    """The request's options make no sense."""


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What of a log is wanted."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None
    """Only the last so many lines."""
    since: float = 0.0
    """Only what was written at or after this time (seconds since the epoch)."""
    limit: int | None = None
    """At most so many bytes."""

    @staticmethod
    def of(query: Mapping[str, str], now: float) -> LogOptions:
        """From PodLogOptions in a query. Raises BadOptions."""

        def asked(name: str) -> bool:
            return query.get(name, "").lower() in ("1", "true")

        try:
            tail = int(query["tailLines"]) if query.get("tailLines") else None
            limit = int(query["limitBytes"]) if query.get("limitBytes") else None
            since = now - int(query["sinceSeconds"]) if query.get("sinceSeconds") else 0.0
            since = parse_rfc3339(query["sinceTime"]) if query.get("sinceTime") else since
        except ValueError as error:
            raise BadOptions(f"reading the log options: {error}") from error
        if (tail is not None and tail < 0) or (limit is not None and limit < 1):
            raise BadOptions("tailLines must not be negative, limitBytes must be positive")
        return LogOptions(asked("follow"), asked("previous"), asked("timestamps"), tail, since, limit)


def content_of(line: bytes) -> bytes:
    """What the process itself wrote of one raw log line; a partial line (tag P) has no line end."""
    parts = line.split(b" ", 3)
    if len(parts) < 4:
        return line
    content = parts[3]
    return content.removesuffix(b"\n") if parts[2].startswith(b"P") else content


def time_of(line: bytes) -> float:
    """Seconds since the epoch at which the line was written; 0 if it does not say."""
    stamp = line.split(b" ", 1)[0].decode(errors="replace")
    try:
        return parse_rfc3339(stamp)
    except ValueError:
        return 0.0


def render(line: bytes, options: LogOptions) -> bytes:
    """One raw line as the client wants it; b"" if it is too old."""
    if options.since and time_of(line) < options.since:
        return b""
    content = content_of(line)
    return line.split(b" ", 1)[0] + b" " + content if options.timestamps else content


def start_of_tail(stream: BinaryIO, lines: int, end: int) -> int:
    """The offset from which ``stream`` holds its last ``lines`` lines before the offset ``end``, found from there."""
    if lines == 0:
        return end
    found = 0
    position = end
    while position > 0:
        start = max(0, position - BLOCK)
        stream.seek(start)
        block = stream.read(position - start)
        index = len(block)
        while (index := block.rfind(b"\n", 0, index)) >= 0:
            # The line end of the last line does not begin another one.
            if start + index < end - 1:
                found += 1
                if found == lines:
                    return start + index + 1
        position = start
    return 0


async def read(path: Path, options: LogOptions, *, clock: Clock, is_over: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The log at ``path``, rendered, in pieces. With ``follow`` it ends when ``is_over`` says that no more will come.

    A piece holds as many lines as are there, up to some tens of kilobytes: each costs every process on its way to the
    client as much as a thousand lines in one. Raises FileNotFoundError if there is no log.
    """
    left = options.limit
    async for lines in _lines(path, options, clock=clock, is_over=is_over):
        piece = b"".join(render(line, options) for line in lines)
        if left is not None:
            piece = piece[:left]
            left -= len(piece)
        if piece:
            yield piece
        if left == 0:
            return


async def _lines(
    path: Path, options: LogOptions, *, clock: Clock, is_over: Callable[[], bool]
) -> AsyncIterator[list[bytes]]:
    """The raw lines, as many at once as a block holds."""
    stream = path.open("rb")
    try:
        end = stream.seek(0, os.SEEK_END)
        stream.seek(start_of_tail(stream, options.tail, end) if options.tail is not None else 0)
        rest = b""
        while True:
            # Both are asked before reading: what was written until the end, or a rotation, is still read after it.
            over = not options.follow or is_over()
            replaced = options.follow and is_replaced(path, stream)
            # Who does not follow reads to where the end was: a container may write faster than anybody reads.
            while block := stream.read(BLOCK if options.follow else min(BLOCK, end - stream.tell())):
                *lines, rest = (rest + block).split(b"\n")
                yield [line + b"\n" for line in lines]
                # A client that takes it all at once must not keep everybody else waiting.
                await clock.sleep(0)
            if replaced:
                stream.close()
                stream = path.open("rb")
            elif over:
                break
            else:
                await clock.sleep(LOOK_AGAIN_SECONDS)
        if rest:
            yield [rest]
    finally:
        stream.close()


def is_replaced(path: Path, stream: BinaryIO) -> bool:
    """Whether ``path`` now names another file than ``stream`` reads."""
    try:
        there, ours = path.stat(), os.fstat(stream.fileno())
    except FileNotFoundError:
        # In the middle of a rotation, or removed with its pod.
        return False
    return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)
