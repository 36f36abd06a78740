"""The way to containerd: a busy one is waited for."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from kontinuum.node.cri import CriClient
from kontinuum.node.port import RuntimeFailed


async def test_a_runtime_that_is_slow_to_greet_is_not_taken_for_one_that_is_away(tmp_path: Path) -> None:
    """As containerd is where every processor is busy: it accepts a call, and says no word for a while."""
    server = grpc.aio.server()
    server.add_insecure_port(f"unix://{tmp_path / 'busy'}")
    await server.start()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Longer than grpc waits at least, whatever it is told (0.1 s).
        await asyncio.sleep(1.0)
        theirs, ours = await asyncio.open_unix_connection(tmp_path / "busy")
        await asyncio.gather(pour(reader, ours), pour(theirs, writer))

    async with await asyncio.start_unix_server(relay, tmp_path / "socket"), CriClient(tmp_path / "socket") as client:
        with pytest.raises(RuntimeFailed, match="Method not found"):
            await client.version()
    await server.stop(None)


async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
