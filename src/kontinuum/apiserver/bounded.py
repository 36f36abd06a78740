"""Answers of servers that are not ours, read up to a limit: nobody fills our memory."""

from __future__ import annotations

from aiohttp import StreamReader

from kontinuum.foundation.errors import Refused


class TooLong(Refused):
    """There is more than anybody could mean."""


async def read(content: StreamReader, largest: int) -> bytes:
    """All of it. Raises TooLong for more than ``largest`` bytes."""
    parts, size = [], 0
    async for part in content.iter_any():
        parts.append(part)
        size += len(part)
        if size > largest:
            raise TooLong(f"the answer is longer than {largest} bytes")
    return b"".join(parts)
