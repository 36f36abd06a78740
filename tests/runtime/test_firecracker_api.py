"""What Firecracker is told, and that nothing it answers hangs us, deceives us, or leaves a process behind."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import msgspec
import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kontinuum.foundation import process, sockets
from kontinuum.foundation.clock import RealClock
from kontinuum.runtime.guest.port import NobodyAnswers
from kontinuum.runtime.jail.confine import Shown
from kontinuum.runtime.layers import Layers
from kontinuum.runtime.vmm.conformance import is_alive
from kontinuum.runtime.vmm.firecracker import documents, machine
from kontinuum.runtime.vmm.firecracker.backend import Firecracker
from kontinuum.runtime.vmm.firecracker.documents import DRIVES, Files, Hardware
from kontinuum.runtime.vmm.firecracker.launcher import Wish
from kontinuum.runtime.vmm.firecracker.machine import Launched, View
from kontinuum.runtime.vmm.firecracker.shapes import SHAPES
from kontinuum.runtime.vmm.port import MachineNotStarted, MachineRefused, MachineSpec
from kontinuum.runtime.vmm.templates import Templates

NEW, OLD = Hardware(128 << 20, 1, (1, 14, 0)), Hardware(128 << 20, 1, (1, 8, 0))
LIMITED = Hardware(128 << 20, 1, (1, 14, 0), 1 << 20, 1 << 20)
Behaviour = bytes | None
"""What is answered to a call before the line is cut; None: nothing, and it is not cut."""
DONE = b"HTTP/1.1 204 No Content\r\n\r\n"


def http(status: int, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


RUNNING = http(200, orjson.dumps({"state": "Running"}))
ANSWERS: st.SearchStrategy[Behaviour] = st.one_of(
    st.just(DONE),
    st.just(RUNNING),
    st.none(),
    st.binary(max_size=200),
    st.builds(http, st.sampled_from([200, 204, 302, 400, 404, 500, 999]), st.binary(max_size=80)),
    st.builds(lambda fault: http(400, orjson.dumps({"fault_message": fault})), st.text(max_size=30)),
    st.sampled_from(
        [
            http(200, b"[]"),
            http(200, b"{" * 5000),
            http(302, b"", "Location: http://localhost/elsewhere"),
            http(200, b"\x1f\x8b\x08", "Content-Encoding: gzip"),
            http(200, bytes(200_000)),
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n{",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffff\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 20_000 + b"\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
            b"SSH-2.0-OpenSSH_9.9\r\n",
        ]
    ),
)


@dataclass
class Broken:
    """A ``Launcher`` of processes that sleep, whose API answers as it is told and then as it should."""

    answers: list[Behaviour]
    own: Path

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            answer = self.answers.pop(0) if self.answers else RUNNING if head.startswith(b"GET") else DONE
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
                await writer.drain()
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass  # whoever only looks whether anybody listens
        finally:
            writer.close()

    def launch(self, wish: Wish, *, output: int, locks: int, undo: ExitStack) -> Launched:
        child = process.spawn("sleep", "infinity", stdout=output, stderr=output, pass_fds=(locks,))
        self.pid = child.pid
        view = View(lambda *_: None, lambda _: None, lambda _: sockets.open_socket_of(os.getuid(), self.own))
        return Launched(child, view, os.getuid(), tap=None)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ANSWERS, min_size=1, max_size=4))
@example([None])
@example([http(200, bytes(200_000))])
def test_whatever_firecracker_answers_a_start_ends_with_a_machine_or_an_error_and_leaves_nothing(
    answers: list[Behaviour],
) -> None:
    async def scenario(home: Path) -> None:
        broken = Broken(answers, home / "api.sock")
        server = await asyncio.start_unix_server(broken.serve, sock=sockets.listen_unix(broken.own))
        templates = Templates(home / "t", guest_version="1", vmm_version="1")
        layers = Layers(home / "layers")
        vmm = Firecracker(broken, templates, version=(1, 14, 0), layers=layers, agent_ready=never, clock=RealClock())
        directory = home / "m"
        directory.mkdir()
        try:
            async with asyncio.timeout(60):
                started = await vmm.start(MachineSpec("one", 128 << 20, 1, None, documents.MAC, directory))
            assert is_alive(broken.pid)
            await started.kill()
        except (MachineNotStarted, MachineRefused) as error:
            assert "Firecracker" in str(error)
            assert len(str(error)) < 3000
        finally:
            server.close()
        assert not is_alive(broken.pid)

    with tempfile.TemporaryDirectory(prefix="kt-") as home, patch.object(machine, "COMMAND_SECONDS", 0.05):
        asyncio.run(scenario(Path(home)))


async def never(_dial: object) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("answer", "rest"),
    [
        (b"OK 1073741824\n", b""),
        (b"OK 7\nand what follows is the agent's", b"and what follows is the agent's"),
        (b"OK\n", None),
        (b"OK seven\n", None),
        (b"", None),
        (b"NO 7\n", None),
        (b"OK " + b"1" * 500, None),
        (b"\xff\xfe\n", None),
    ],
)
async def test_a_call_to_the_guest_is_put_through_or_nobody_answers(
    answer: bytes, rest: bytes | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with tempfile.TemporaryDirectory(prefix="kt-") as home:
        path = Path(home) / "vsock"

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.readline() == b"CONNECT 1024\n"
            writer.write(answer)
            writer.close()

        server = await asyncio.start_unix_server(take, sock=sockets.listen_unix(path))
        try:
            line = await machine.call(opener(path), 1024)
        except NobodyAnswers:
            assert rest is None
        else:
            assert await asyncio.get_running_loop().sock_recv(line, 1000) == rest
            line.close()
        server.close()


def opener(path: Path) -> Callable[[], int]:
    return lambda: sockets.open_socket_of(os.getuid(), path)


def test_a_socket_that_is_a_link_or_somebody_elses_is_not_called(tmp_path: Path) -> None:
    """Firecracker makes its sockets itself; a hijacked one may put there what it likes."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("/run/any.sock")
    with tempfile.TemporaryDirectory(prefix="kt-") as home:
        sockets.listen_unix(Path(home) / "s").close()
        os.close(sockets.open_socket_of(os.getuid(), Path(home) / "s"))
        for user, path in ((os.getuid() + 1, Path(home) / "s"), (os.getuid(), tmp_path / "file")):
            with pytest.raises(sockets.NotListening):
                sockets.open_socket_of(user, path)
    for name in ("link", "nothing"):
        with pytest.raises((OSError, sockets.NotListening)):
            sockets.open_socket_of(os.getuid(), tmp_path / name)


@pytest.mark.parametrize("hardware", [NEW, OLD, LIMITED])
def test_all_that_is_told_is_in_the_public_document(hardware: Hardware) -> None:
    requests = [*documents.configuration(hardware), documents.start(), documents.pause(), documents.resume()]
    requests += [documents.save(), documents.load(), *(documents.look_again(drive) for drive in DRIVES)]
    for request in requests:
        family = request.path if request.path.startswith("/snapshot") else f"/{request.path.split('/')[1]}"
        msgspec.convert(request.body, SHAPES[request.method, family]).check()


def test_a_machine_has_no_more_devices_than_there_are_interrupts() -> None:
    devices = ("/drives/", "/network-interfaces/", "/vsock", "/balloon", "/entropy")
    told = [request for request in documents.configuration(NEW) if request.path.startswith(devices)]
    assert len(told) == documents.DEVICES


def test_what_a_guest_flushes_is_flushed_and_only_volumes_are_written_to() -> None:
    for drive in (request.body or {} for request in documents.configuration(NEW) if "/drives/" in request.path):
        assert drive["cache_type"] == ("Unsafe" if drive["is_read_only"] else "Writeback")


def test_limits_of_the_host_are_on_every_disk_and_on_both_directions_of_the_network() -> None:
    limited = replace(NEW, disk_bytes_per_second=50_000_000, network_bytes_per_second=5)
    bodies = [request.body or {} for request in documents.configuration(limited)]
    found = [body["rate_limiter"]["bandwidth"] for body in bodies if "rate_limiter" in body]
    assert found == [{"size": 5_000_000, "refill_time": 100}] * len(DRIVES)
    [network] = [body for body in bodies if "iface_id" in body]
    for direction in ("rx_rate_limiter", "tx_rate_limiter"):
        assert network[direction] == {"bandwidth": {"size": 1, "refill_time": 100}}
    assert limited.kind != NEW.kind, "a saved machine remembers its limits"
    assert "rate_limiter" not in NEW.kind


def test_memory_is_given_back_by_versions_that_can() -> None:
    bodies = [request.body or {} for hardware in (NEW, OLD) for request in documents.configuration(hardware)]
    assert [body.get("free_page_reporting") for body in bodies if "deflate_on_oom" in body] == [True, None]
    assert NEW.kind != OLD.kind


@pytest.mark.parametrize(
    ("said", "version"),
    [("Firecracker v1.14.0", (1, 14, 0)), ("Firecracker v1.8.0-dirty", (1, 8, 0)), ("firecracker", ()), ("", ())],
)
def test_a_version_is_read_or_is_older_than_any(said: str, version: tuple[int, ...]) -> None:
    assert documents.version_of(said) == version
    assert version >= documents.OLDEST or version == ()


@given(st.text(max_size=200))
def test_an_id_is_one_that_firecracker_takes(id: str) -> None:
    [named] = documents.command(id=id)[4:]
    assert 1 <= len(named) <= 64
    assert all(letter.isascii() and (letter.isalnum() or letter == "-") for letter in named)


def test_firecracker_sees_one_machines_files_and_may_write_to_none_but_the_template_that_it_makes() -> None:
    files = Files(Path("/usr/bin/firecracker"), Path("/k"), Path("/i"))
    clone = documents.shown(files, network=9, template=(Path("/t/memory"), Path("/t/state")), saving=False)
    assert [one for one in clone if one.kind == "write"] == []
    assert {one.target for one in clone if one.kind == "device"} == {"/dev/kvm", "/dev/net/tun"}
    assert Shown("read", "/t/memory", "/memory") in clone
    maker = documents.shown(files, network=9, template=(Path("/t/memory"), Path("/t/state")), saving=True)
    assert {one.source for one in maker if one.kind == "write"} == {"/t/memory", "/t/state"}
    assert [one.source for one in clone if one.kind == "run"] == ["/usr/bin/firecracker"]
