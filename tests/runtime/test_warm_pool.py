"""A machine that waits is one pod's or nobody's, whoever dies when; and what nobody looks after is ended."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
import pytest
from tests.kill_points import KILLED, dying_at, exit_of, forked

from kontinuum.foundation import process, sockets
from kontinuum.runtime import records
from kontinuum.runtime.guest.fake import FakeGuest
from kontinuum.runtime.guest.port import Dial, Guest
from kontinuum.runtime.jail import users
from kontinuum.runtime.jail.users import Users
from kontinuum.runtime.records import SandboxRecord
from kontinuum.runtime.vmm.fake import backend as fake
from kontinuum.runtime.vmm.port import Machine, Size
from kontinuum.runtime.warm import pool as pools
from kontinuum.runtime.warm import standby
from kontinuum.runtime.warm.pool import Pool
from kontinuum.runtime.warm.standby import Making, stand_by

SIZE = Size(128 << 20, 1)
PATIENCE = 60.0
STRIDE = 8
"""Every how many lines a standby is killed: each time costs the making of one."""


@dataclass
class Host:
    """A pool with fake machines, and pods that take them."""

    directory: Path
    children: list[int] = field(default_factory=list)

    @property
    def pool(self) -> Pool:
        return Pool(self.directory / "warm", Users(self.directory / "users", range(1000, 1100)))

    def home(self, pod: str) -> Path:
        return self.directory / "vm" / pod

    def stand_by(self, *, dies_at: int | None = None) -> int:
        """A process with a machine that waits (or is on its way there). Answers its number."""
        work: Callable[[], None] = partial(be_standby, self)
        if dies_at is not None:
            work = dying_at(dies_at, (standby,), work)
        child = forked(work)
        self.children.append(child)
        return child

    def take(self, pod: str) -> bool:
        """As containerd's client does it: the shim is told of when it has been found. True if it is a warm one."""
        taken = self.pool.take(SIZE, self.home(pod), pod.encode())
        if taken is None:
            return False
        (self.directory / f"told-{pod}").touch()
        taken.confirm()
        return True

    def clean_up_after(self, pod: str) -> None:
        """As containerd does after a start that it has not heard of: what the pod had is taken apart."""
        if not (self.directory / f"told-{pod}").exists():
            record = records.read(self.home(pod))
            if record is not None and record.sandbox in ("", pod):
                records.take_apart(self.home(pod))

    def machines(self) -> set[int]:
        """Living machines of everybody."""
        known = {int(path.name) for path in (self.directory / "machines").glob("*")}
        return {pid for pid in known if is_alive(pid)}

    def owners(self) -> list[str]:
        """Whose living machines there are: a pod's name, or "" for one that waits."""
        found = []
        for directory in (*self.directory.glob("vm/*"), *self.pool.ready(SIZE)):
            record = records.read(directory)
            if record is not None and all(is_alive(one.pid) for one in record.processes):
                found.append(record.sandbox)
        return sorted(found)

    def check(self) -> None:
        """Nobody is left of whom nobody knows, and every machine is one pod's or waits; once all have noticed."""

        def is_settled() -> bool:
            owners = self.owners()
            homes = sorted(path.name for path in self.directory.glob("vm/*"))
            waiting = len(list(self.pool.directory.iterdir()))
            return (
                homes == [one for one in owners if one] and len(self.machines()) == len(owners) == len(homes) + waiting
            )

        wait_until(is_settled, self.report)
        claims = [claim.readlink() for claim in (self.directory / "users").iterdir() if claim.exists()]
        assert len(claims) == len(set(claims))

    def report(self) -> str:
        return (
            f"machines {self.machines()}, owners {self.owners()}, files {sorted(map(str, self.directory.rglob('*')))}"
        )


def be_standby(host: Host) -> None:
    """A shim of few words: when its pod has come, it writes down whose it is, and lives on if containerd knows."""
    fake.process.spawn = partial(process.spawn, die_with_parent=True)  # type: ignore[attr-defined]

    async def rehearse(machine: Machine, _guest: Guest) -> None:
        (host.directory / "machines" / str(machine.pid)).touch()

    def count(word: str) -> None:
        (host.directory / word).touch()

    async def connect(_dial: Dial) -> Guest:
        return FakeGuest(host.directory / "guest")

    async def live() -> None:
        vmm = fake.FakeVmm()
        await vmm.prepare(memory_bytes=SIZE.memory_bytes, cpus=SIZE.cpus)
        claim = partial(host.pool.users.claim)
        start = vmm.start

        async def start_as_a_user(spec):  # type: ignore[no-untyped-def]
            claim(spec.directory)
            return await start(spec)

        vmm.start = start_as_a_user  # type: ignore[method-assign]
        found = await stand_by(host.pool, SIZE, Making(vmm, connect, rehearse, lambda: None, count))
        if found is None:
            return
        call, warm = found
        pod = call.request.decode()
        record = records.read(host.home(pod))
        assert record is not None
        records.write(host.home(pod), msgspec.structs.replace(record, sandbox=pod))
        call.answer()
        if await call.is_known():
            await asyncio.sleep(3600)
        await warm.machine.kill()
        records.take_apart(host.home(pod))

    asyncio.run(live())


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition: Callable[[], bool], report: Callable[[], str] = lambda: "") -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"it did not come to that: {report()}"
        time.sleep(0.002)


@pytest.fixture
def new_host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Host]]:
    """Hosts with short paths: sockets' addresses must be short."""
    # A machine that crowds out a standby for two seconds does not make it one that hangs.
    monkeypatch.setattr(pools, "ANSWER_SECONDS", 60.0)
    made: list[Host] = []
    place = Path(tempfile.mkdtemp(prefix="warm-"))

    def make() -> Host:
        host = Host(place / str(len(made)))
        (host.directory / "vm").mkdir(parents=True)
        (host.directory / "machines").mkdir()
        made.append(host)
        return host

    yield make
    for host in made:
        for child in host.children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(child, 0)
    shutil.rmtree(place)


def ready(host: Host, count: int = 1) -> None:
    wait_until(lambda: len(host.pool.ready(SIZE)) == count, host.report)


def test_a_machine_that_waits_is_paused_and_goes_to_the_first_pod_that_comes(new_host: Callable[[], Host]) -> None:
    host = new_host()
    assert not host.take("early")
    host.stand_by()
    ready(host)
    [machine] = host.machines()
    assert "T" in Path(f"/proc/{machine}/stat").read_text().rpartition(")")[2].split()[0]
    assert host.take("first")
    assert not host.take("second")
    assert host.owners() == ["first"]
    assert host.machines() == {machine}
    host.check()


def test_pods_that_come_together_get_a_machine_each_and_never_the_same(new_host: Callable[[], Host]) -> None:
    host = new_host()
    for _ in range(2):
        host.stand_by()
    ready(host, 2)
    pods = [forked(partial(host.take, f"pod-{number}")) for number in range(6)]
    assert [exit_of(pod) for pod in pods] == [0] * 6
    assert len(host.owners()) == len(set(host.owners())) == 2
    host.check()


def test_a_pods_start_that_is_killed_anywhere_leaves_no_machine_that_nobody_has(new_host: Callable[[], Host]) -> None:
    """The next pod gets the machine if the first had not taken it, and starts without if it had."""
    host = new_host()
    for line in itertools.count():
        if not host.pool.ready(SIZE):
            host = new_host()
            host.stand_by()
            ready(host)
        code = exit_of(forked(dying_at(line, (pools, users), partial(host.take, "killed"))))
        host.clean_up_after("killed")
        host.check()
        if code != KILLED:
            assert code == 0
            assert host.owners() == ["killed"]
            break
        if host.owners() == [""] and line % 8 == 0:
            assert host.take("next"), host.report()
            host.check()
    assert line > 40, "it was not killed where it matters"


async def test_a_pod_that_comes_just_after_one_that_died_is_heard(
    new_host: Callable[[], Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has taken the machine and called, and the standby's loop has not heard it yet."""
    monkeypatch.setattr(standby, "_HEARING_SECONDS", 0.0)
    directory = new_host().directory
    here, there = directory / "ready", directory / "taken"
    listener = sockets.listen_unix(here)
    door = standby._Door(here)
    heard = asyncio.Event()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not heard.is_set():
            heard.set()
            await asyncio.sleep(0)
        await door.hear(reader, writer)

    server = await asyncio.start_unix_server(hear, sock=listener)
    async with server:
        with socket.socket(socket.AF_UNIX) as died, socket.socket(socket.AF_UNIX) as lives:
            died.connect(str(here))
            died.close()
            await heard.wait()
            # Not a turn of the loop between the two.
            lives.connect(str(here))
            here.rename(there)
            lives.sendall(pools.LENGTH.pack(3) + b"pod")
            async with asyncio.timeout(60):
                call = await door.taken
            assert call is not None and call.request == b"pod"
            call.refuse()


def test_a_standby_that_is_killed_anywhere_costs_its_machine_and_no_pod(new_host: Callable[[], Host]) -> None:
    for line in itertools.count(step=STRIDE):
        host = new_host()
        child = host.stand_by(dies_at=line)
        wait_until(lambda: bool(host.pool.ready(SIZE)) or not is_alive(child), host.report)  # noqa: B023
        host.take("pod")
        wait_until(lambda: host.owners() == ["pod"] or not is_alive(child), host.report)  # noqa: B023
        alive = is_alive(child)
        if not alive:
            assert exit_of(child) == KILLED
        host.clean_up_after("pod")
        host.pool.sweep()
        if not alive:
            records.take_apart(host.home("pod"))
            wait_until(lambda: not host.machines(), host.report)  # noqa: B023
            assert not list(host.directory.glob("vm/*")) + list(host.directory.glob("warm/*")), host.report()
        else:
            host.check()
            assert host.owners() == ["pod"]
            break
    assert line > 40, "it was not killed where it matters"


def test_what_is_not_wanted_and_what_its_maker_left_is_ended(new_host: Callable[[], Host]) -> None:
    host = new_host()
    for _ in range(3):
        host.stand_by()
    ready(host, 3)
    first, second, _third = host.pool.ready(SIZE)
    host.pool.end(first)
    ready(host, 2)
    [leader] = [record.processes[0].pid for record in [records.read(second)] if record is not None]
    os.kill(leader, standby.END_SIGNAL)
    ready(host, 1)
    host.pool.sweep()
    host.check()
    host.pool.sweep(everything=True)
    assert not list(host.pool.directory.iterdir())
    assert not host.machines()


def test_a_standby_that_hangs_is_ended_and_the_pod_starts_without(
    new_host: Callable[[], Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "ANSWER_SECONDS", 0.05)
    host = new_host()
    child = host.stand_by()
    wait_until((host.directory / "made").exists, host.report)
    os.kill(child, signal.SIGSTOP)
    assert not host.take("pod")
    assert not is_alive(child)
    host.check()


def test_a_directory_without_a_record_is_left_alone_while_it_may_be_young(tmp_path: Path) -> None:
    pool = Pool(tmp_path / "warm", Users(tmp_path / "users", range(1000, 1001)))
    directory = pool.begin(SIZE)
    records.write(directory, SandboxRecord(""))
    pool.sweep()
    assert directory.exists()
    os.utime(directory, (0, 0))
    pool.sweep()
    assert not directory.exists()
