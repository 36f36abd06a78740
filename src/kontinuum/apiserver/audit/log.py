"""The file that events are appended to, written by a thread of its own, so that a slow disk stops no request.

    loop: append ──▶ list ──▶ (every ``FLUSH_SECONDS``, or when it is long) ──▶ thread: one write, rotation

When a file has become too large it is renamed after the time, as Kubernetes' log backend does it:
``audit.log`` becomes ``audit-2026-01-02T15-04-05.000.log``.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

from kontinuum.apiserver.audit.settings import AuditSettings
from kontinuum.foundation.errors import Refused
from kontinuum.foundation.telemetry import Tally

log = structlog.get_logger(__name__)

Line = Callable[[], bytes]
"""Makes an event's line; called by the thread."""
FLUSH_SECONDS = 0.2
BATCH = 400
MOST_WAITING = 10_000
"""Events that may wait to be written; in batch mode further ones are dropped."""
DAY = 86_400
MEGABYTE = 1024 * 1024


class LogRefused(Refused):
    """The audit log cannot be opened."""


class _File:
    """Belongs to the thread."""

    def __init__(self, settings: AuditSettings, path: Path) -> None:
        self._settings, self._path = settings, path
        self._limit = settings.maximum_megabytes * MEGABYTE
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise LogRefused(f"{path}: opening the audit log: {error.strerror}") from error
        # Neither a terminal nor a pipe can be renamed.
        self._rotates = path.is_file() and self._limit > 0
        self._size = path.stat().st_size if self._rotates else 0

    def write(self, data: bytes) -> None:
        if self._rotates and self._size and self._size + len(data) > self._limit:
            self._rotate()
        written = 0
        while written < len(data):
            written += self._file.write(data[written:])
        self._size += len(data)

    def close(self) -> None:
        self._file.close()

    def _rotate(self) -> None:
        self._file.close()
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")[:-3]
        self._path.rename(self._path.with_name(f"{self._path.stem}-{moment}{self._path.suffix}"))
        self._file = self._path.open("ab", buffering=0)
        self._size = 0
        self._remove_old()

    def _remove_old(self) -> None:
        pattern = f"{self._path.stem}-*{self._path.suffix}"
        backups = sorted(self._path.parent.glob(pattern), key=lambda file: file.name, reverse=True)
        keep, age = self._settings.maximum_backups, self._settings.maximum_age_days * DAY
        for position, file in enumerate(backups):
            is_old = age and time.time() - file.stat().st_mtime > age
            if is_old or (keep and position >= keep):
                file.unlink(missing_ok=True)


class Log:
    """``open`` before anything is appended, ``close`` writes what waits."""

    def __init__(self, settings: AuditSettings, path: Path) -> None:
        self._file = _File(settings, path)
        self._is_blocking = settings.mode == "blocking"
        self._waiting: list[Line] = []
        self._timer: asyncio.TimerHandle | None = None
        self._batches: queue.SimpleQueue[tuple[Sequence[Line], asyncio.Future[None] | None] | None]
        self._batches = queue.SimpleQueue()
        self._in_thread = 0
        self._thread = threading.Thread(target=self._write_for_ever, name="audit log", daemon=True)
        self._loop = asyncio.get_running_loop()
        self.written = 0
        self.dropped = 0
        self.failed = 0
        self.seconds = Tally()
        """How long writing took."""
        self._thread.start()

    async def append(self, line: Line) -> None:
        """In blocking mode returns when the line has been written. Raises OSError if that failed."""
        if self._is_blocking:
            done: asyncio.Future[None] = self._loop.create_future()
            self._batches.put(([line], done))
            await done
            return
        if len(self._waiting) + self._in_thread >= MOST_WAITING:
            self.dropped += 1
            return
        self._waiting.append(line)
        if len(self._waiting) >= BATCH:
            self._flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(FLUSH_SECONDS, self._flush)

    async def close(self) -> None:
        self._flush()
        self._batches.put(None)
        await asyncio.to_thread(self._thread.join)
        self._file.close()

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            self._in_thread += len(self._waiting)
            self._batches.put((self._waiting, None))
            self._waiting = []

    def _write_for_ever(self) -> None:
        while (batch := self._batches.get()) is not None:
            lines, done = batch
            began = time.perf_counter()
            try:
                self._file.write(b"".join(line() for line in lines))
                problem = None
            except Exception as error:
                log.exception("audit events could not be written", number=len(lines))
                problem = error
            took = time.perf_counter() - began
            self._loop.call_soon_threadsafe(self._account, len(lines), done, problem, took)

    def _account(
        self, number: int, done: asyncio.Future[None] | None, problem: Exception | None, seconds: float
    ) -> None:
        self.seconds.observe(seconds)
        if problem is None:
            self.written += number
        else:
            self.failed += number
        if done is None:
            self._in_thread -= number
        elif not done.done():
            if problem is None:
                done.set_result(None)
            else:
                done.set_exception(problem)
