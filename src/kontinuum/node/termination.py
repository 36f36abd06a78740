"""A container's last words: what it wrote for Kubernetes to show, or the end of its log."""

from __future__ import annotations

from pathlib import Path

from kontinuum.node.logs import content_of

LARGEST_MESSAGE = 4096
LARGEST_FALLBACK = 2048
FALLBACK_LINES = 80


def read_message(file: Path, log: Path | None) -> str:
    """The termination message; from ``log`` if ``file`` is empty and a log is given. "" if there is none."""
    message = _head(file)
    if message or log is None:
        return message
    return _tail_of_log(log)


def _head(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return stream.read(LARGEST_MESSAGE).decode(errors="replace")
    except FileNotFoundError:
        return ""


def _tail_of_log(log: Path) -> str:
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 2 * LARGEST_FALLBACK - FALLBACK_LINES * 64))
            lines = stream.read().splitlines(keepends=True)
    except FileNotFoundError:
        return ""
    text = b"".join(content_of(line) for line in lines[-FALLBACK_LINES:])
    return text[-LARGEST_FALLBACK:].decode(errors="replace")
