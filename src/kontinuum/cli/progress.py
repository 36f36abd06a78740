"""How far a long command is: one line on a terminal, redrawn; nothing where nobody looks."""

from __future__ import annotations

import sys
from types import TracebackType

from kontinuum.foundation.clock import Clock

REDRAW_SECONDS = 0.1


class Progress:
    """``with`` it, and call it with how many of ``total`` are done. It writes to standard error."""

    def __init__(self, doing: str, total: int, clock: Clock) -> None:
        self._doing = doing
        self._total = total
        self._clock = clock
        self._is_seen = sys.stderr.isatty()
        self._drawn = float("-inf")

    def __enter__(self) -> Progress:
        return self

    def __call__(self, done: int) -> None:
        now = self._clock.monotonic()
        if self._is_seen and (now - self._drawn >= REDRAW_SECONDS or done == self._total):
            self._drawn = now
            share = f" ({100 * done // self._total} %)" if self._total else ""
            print(f"\r{self._doing}: {done:,} of {self._total:,} objects{share}", end="", file=sys.stderr, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._is_seen:
            print(file=sys.stderr)
