"""Container logs in the CRI's format: ``2026-01-02T03:04:05.678901234Z stdout F the line``."""

from __future__ import annotations


def content_of(line: bytes) -> bytes:
    """What the process itself wrote of one raw log line; a partial line (tag P) has no line end."""
    parts = line.split(b" ", 3)
    if len(parts) < 4:
        return line
    content = parts[3]
    return content.removesuffix(b"\n") if parts[2].startswith(b"P") else content
