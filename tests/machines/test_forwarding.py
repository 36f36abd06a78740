"""Whatever port is dialled in a pod's network namespace leads into its machine, and to nobody when that is gone."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from kontinuum.foundation.network_namespace import inside
from kontinuum.foundation.tasks import cancel
from kontinuum.runtime.forwarding import forward_ports
from kontinuum.runtime.guest.fake import FakeGuest

pytestmark = pytest.mark.machine
LARGE = bytes(range(256)) * 4096


@pytest.fixture
def namespace() -> Iterator[Path]:
    """A network namespace as CNI makes one for a pod."""
    command = ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep 1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == b"up\n"
            yield Path(f"/proc/{holder.pid}/ns/net")
        finally:
            holder.kill()


@asynccontextmanager
async def serving(tmp_path: Path, namespace: Path) -> AsyncIterator[int]:
    """The port of a server in the "machine", which is this host for the fake: it echoes when it has heard all."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(-1))
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    forwarding = asyncio.create_task(forward_ports(namespace, FakeGuest(tmp_path)))
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        await cancel(forwarding)
        server.close()


async def dialled(namespace: Path, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """As a container runtime does it: a socket of the pod's namespace. Tried until the way is open."""
    async with asyncio.timeout(60):
        while True:
            with inside(namespace):
                made = socket.socket()
            made.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
                return await asyncio.open_connection(sock=made)
            except ConnectionRefusedError:
                made.close()
            await asyncio.sleep(0.01)


async def test_what_is_dialled_in_the_pods_namespace_is_answered_from_the_machine(
    tmp_path: Path, namespace: Path
) -> None:
    async with serving(tmp_path, namespace) as port:
        for _ in range(3):
            reader, writer = await dialled(namespace, port)
            writer.write(LARGE)
            writer.write_eof()
            async with asyncio.timeout(60):
                assert await reader.read(-1) == LARGE
            writer.close()
        reader, writer = await dialled(namespace, 1)
        async with asyncio.timeout(60):
            with suppress(ConnectionResetError):
                assert await reader.read(-1) == b""
        writer.close()
    with inside(namespace):
        after = socket.socket()
    with after, pytest.raises(ConnectionRefusedError):
        after.connect(("127.0.0.1", port))
