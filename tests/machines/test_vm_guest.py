"""What a container inside a machine sees, does and suffers, asked of the real agent on the real kernel."""

from __future__ import annotations

import asyncio
import errno
import io
import random
import re
import tarfile
import time
from pathlib import Path

import pytest
from tests.machines.guests import MOUNTS, Lab, Running, collect, identity, lab, process_spec

from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.tasks import cancel
from kontinuum.runtime.guest import connection, protocol
from kontinuum.runtime.guest.port import (
    ContainerSpec,
    GuestLost,
    GuestRefused,
    Interface,
    Mount,
    ProcessNotStarted,
)
from kontinuum.runtime.guest.protocol import Frame, Kind
from kontinuum.runtime.seccomp import compile_profile
from kontinuum.runtime.timekeeping import keep_time

pytestmark = pytest.mark.machine
__all__ = ["lab"]
MEBIBYTE = 1 << 20


def archive(**files: str | None) -> bytes:
    """A tar of files by name; ``None`` makes a directory, ``-> target`` a symbolic link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.mode = 0o644
            if content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            elif content.startswith("-> "):
                member.type, member.linkname = tarfile.SYMTYPE, content[3:]
            else:
                member.size = len(content)
            tar.addfile(member, io.BytesIO((content or "").encode()))
    return buffer.getvalue()


async def test_output_errors_and_exit_code_of_a_process_arrive(lab: Lab) -> None:
    async with lab.running() as running:
        result = await running.shell("echo out; echo err >&2; exit 7")
        assert (result.stdout, result.stderr, result.exit.status) == (b"out\n", b"err\n", 7)


async def test_a_process_killed_by_a_signal_counts_as_128_and_more(lab: Lab) -> None:
    async with lab.running() as running:
        process = await running.guest.start_process(process_spec("sleep", "1000"))
        await process.signal(15)
        assert (await process.wait()).status == 128 + 15
        with pytest.raises(GuestRefused, match="No such process"):
            await process.signal(15)


async def test_what_cannot_be_executed_is_refused_with_the_reason(lab: Lab) -> None:
    async with lab.running() as running:
        with pytest.raises(ProcessNotStarted) as missing:
            await running.run("no-such-command")
        with pytest.raises(ProcessNotStarted) as forbidden:
            await running.run("/etc/passwd")
        with pytest.raises(GuestRefused, match="chdir to /nowhere"):
            await running.run("true", directory="/nowhere")
        assert (missing.value.errno, forbidden.value.errno) == (errno.ENOENT, errno.EACCES)
        # Of the places in PATH the first counts that has a program of this name.
        await running.shell("mkdir -p /usr/local/sbin/tool /usr/local/bin && touch /usr/local/bin/tool")
        with pytest.raises(ProcessNotStarted) as no_program:
            await running.run("tool")
        await running.shell("printf '#!/bin/sh\necho found' > /bin/tool && chmod 755 /bin/tool")
        found = await running.run("tool")
        assert (no_program.value.errno, found.stdout) == (errno.EACCES, b"found\n")


async def test_a_reader_that_pauses_holds_up_the_writer_and_loses_nothing(lab: Lab) -> None:
    size = 100 * MEBIBYTE
    async with lab.running() as running:
        process = await running.guest.start_process(process_spec("dd", "if=/dev/zero", "bs=1M", "count=100"))
        await asyncio.sleep(1)
        before = await running.guest.stats("main")
        await asyncio.sleep(1)
        after = await running.guest.stats("main")
        assert after.cpu_nanoseconds - before.cpu_nanoseconds < 50_000_000, "it went on although nobody read"
        assert after.memory_bytes < 16 * MEBIBYTE
        received = 0
        async for chunk in process.stdout():
            received += len(chunk)
        assert received == size
        assert (await process.wait()).status == 0


async def test_a_program_that_does_not_read_holds_up_who_writes_to_it(lab: Lab) -> None:
    async with lab.running() as running:
        assert (await running.run("wc", "-c", stdin=b"x" * 3_000_000)).words == ["3000000"]
        idle = await running.guest.start_process(process_spec("sleep", "1000", stdin=True))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await idle.write_stdin(bytes(4 * MEBIBYTE))
        await idle.signal(9)
        await idle.wait()
        with pytest.raises(GuestRefused):
            await idle.write_stdin(b"more")


async def test_a_terminal_has_a_size_that_can_change(lab: Lab) -> None:
    async with lab.running() as running:
        script = "tty; stty size; read line; stty size; echo got $line"
        spec = process_spec("sh", "-c", script, terminal=True, rows=33, columns=99, stdin=True)
        process = await running.guest.start_process(spec)
        output = asyncio.ensure_future(collect(process.stdout()))
        await process.resize(rows=40, columns=120)
        await process.write_stdin(b"hello\n")
        text = (await output).decode()
        assert "/dev/pts/0" in text
        assert "40 120" in text
        assert "got hello" in text
        assert (await process.wait()).status == 0


async def test_a_container_beyond_its_memory_limit_is_killed_as_a_whole_and_said_to_be_out_of_memory(lab: Lab) -> None:
    async with lab.machine() as (machine, guest):
        await guest.identify(identity())
        slot = await machine.attach_disk(lab.image, read_only=True)
        await guest.add_container(ContainerSpec("small", slot, "erofs", MOUNTS, memory_limit_bytes=16 * MEBIBYTE))
        first = await guest.start_process(process_spec("sleep", "1000", container="small"))
        hungry = await guest.start_process(process_spec("tail", "/dev/zero", container="small"))
        exits = await asyncio.gather(first.wait(), hungry.wait())
        assert [(exit.status, exit.out_of_memory) for exit in exits] == [(137, True), (137, True)]


async def test_a_guest_that_is_out_of_memory_loses_the_container_that_took_it_and_not_its_agent(lab: Lab) -> None:
    async with lab.running() as running:
        # No limit, and more than the machine has left.
        hungry = await running.run("dd", "if=/dev/zero", "of=/dev/null", "bs=90M", "count=1")
        assert (hungry.exit.status, hungry.exit.out_of_memory) == (137, True)
        await running.guest.remove_container("main")
        await running.guest.add_container(ContainerSpec("main", running.slot, "erofs", MOUNTS))
        await running.guest.start_process(process_spec("sleep", "1000"))
        assert (await running.shell("echo well")).stdout == b"well\n"


async def test_a_container_cannot_have_more_processes_than_its_limit(lab: Lab) -> None:
    async with lab.running(pids_limit=10) as running:
        result = await running.shell("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; wait")
        assert b"can't fork" in result.stderr
        assert len(await running.guest.processes("main")) <= 10


async def test_a_container_gets_no_more_cpu_than_its_quota(lab: Lab) -> None:
    async with lab.running(cpu_quota_microseconds=20_000) as running:
        busy = await running.guest.start_process(process_spec("sh", "-c", "while :; do :; done"))
        before = (await running.guest.stats("main")).cpu_nanoseconds
        began = time.monotonic()
        await asyncio.sleep(2)
        used = (await running.guest.stats("main")).cpu_nanoseconds - before
        assert used < 0.4e9 * (time.monotonic() - began), "a quota of a fifth of a CPU"
        await running.guest.update_container("main", memory_limit_bytes=0, cpu_quota_microseconds=0, pids_limit=0)
        await busy.signal(9)


async def test_a_volume_in_memory_fills_up_before_the_machine_does(lab: Lab) -> None:
    """One with a size at its size, one without at the bound of all that the machine keeps in memory."""
    small, boundless = "/run/kontinuum/volumes/0", "/run/kontinuum/volumes/1"
    fill = "dd if=/dev/zero of=$0/x bs=1M count=100 2>&1 | grep -o 'No space.*'; stat -c %s $0/x; rm $0/x"
    async with lab.running() as running:
        for place, size in ((small, 5 * MEBIBYTE), (boundless, 1 << 40)):
            await running.guest.mount_memory(place, size_bytes=size)
            await running.guest.write_tree(place, archive(**{".": None}))
        binds = (Mount("/small", "bind", small, ("rbind",)), Mount("/boundless", "bind", boundless, ("rbind",)))
        await running.guest.add_container(ContainerSpec("side", running.slot, "erofs", (*MOUNTS, *binds)))
        await running.guest.start_process(process_spec("sleep", "1000", container="side"))
        full = [await running.run("sh", "-c", fill, place, container="side") for place in ("/small", "/boundless")]
        said, sizes = [one.stdout.splitlines()[0] for one in full], [int(one.words[-1]) for one in full]
        assert said == [b"No space left on device"] * 2
        assert sizes[0] == 5 * MEBIBYTE and 30 * MEBIBYTE < sizes[1] < 80 * MEBIBYTE
        await running.guest.remove_container("side")
        await running.guest.unmount(small)
        with pytest.raises(GuestRefused, match="Invalid argument"):
            await running.guest.unmount(boundless)


async def test_a_process_begins_at_once_when_its_container_has_used_up_its_quota(lab: Lab) -> None:
    """The agent stands still until it has: for minutes, where the host is busy. Then it is held like any other one."""
    async with lab.running() as running:
        guest, busy = running.guest, []

        async def start() -> None:
            busy.append(await guest.start_process(process_spec("sh", "-c", "while :; do :; done")))

        for _ in range(3):
            await start()
        await guest.update_container("main", memory_limit_bytes=0, cpu_quota_microseconds=1_000, pids_limit=0)
        await asyncio.sleep(1)
        before, began = (await guest.stats("main")).cpu_nanoseconds, time.monotonic()
        for _ in range(10):
            await start()
        elapsed = 1e9 * (time.monotonic() - began)
        # Who is held to it has a hundredth, however long everything takes.
        assert (await guest.stats("main")).cpu_nanoseconds - before > 0.03 * elapsed, "they began within the quota"
        before, began = (await guest.stats("main")).cpu_nanoseconds, time.monotonic()
        await asyncio.sleep(2)
        assert (await guest.stats("main")).cpu_nanoseconds - before < 0.2e9 * (time.monotonic() - began)
        for process in busy:
            await process.signal(9)
        await guest.update_container("main", memory_limit_bytes=0, cpu_quota_microseconds=50_000, pids_limit=0)
        # Priority and policy, of a program and of what it starts.
        shown = await running.shell("cut -d' ' -f40,41 /proc/$$/stat /proc/self/stat")
        assert shown.stdout == b"0 0\n0 0\n"


async def test_two_clones_differ_in_everything_that_makes_a_machine_itself(lab: Lab) -> None:
    script = "hostname; cat /proc/sys/kernel/random/boot_id; head -c 16 /dev/urandom | md5sum; date +%s"
    async with lab.running("one") as one, lab.running("two") as two:
        first, second = [(await running.shell(script)).words for running in (one, two)]
        # A clock under which the host's was set, or whose machine was stopped for an hour, is brought back.
        await one.guest.clock(set_to=time.time() - 3600)
        assert time.time() - int((await one.shell("date +%s")).words[0]) >= 3600
        keeping = asyncio.create_task(keep_time(one.guest, RealClock(), every=0.1))
        async with asyncio.timeout(60):
            while abs(await one.guest.clock() - time.time()) > 60:
                await asyncio.sleep(0.1)
        await cancel(keeping)
        # The kernel is not asked to find what they have in common (KSM).
        flags = [line for line in Path(f"/proc/{one.machine.pid}/smaps").read_text().splitlines() if "VmFlags" in line]
        assert flags and not any("mg" in line.split() for line in flags)
    assert (first[0], second[0]) == ("one", "two")
    assert first[1] != second[1]
    assert first[2] != second[2]
    for words in (first, second):
        assert abs(int(words[-1]) - time.time()) < 60


async def test_containers_of_a_machine_share_its_network_and_nothing_else(lab: Lab) -> None:
    async with lab.running() as running:
        await running.guest.add_container(ContainerSpec("side", running.slot, "erofs", MOUNTS))
        listen = "echo hello | nc -l -p 8080"
        server = await running.guest.start_process(process_spec("sh", "-c", listen, container="side"))
        answer = await running.shell("touch /tmp/mine; until nc 127.0.0.1 8080 </dev/null; do sleep 0.1; done")
        assert answer.stdout == b"hello\n"
        await server.wait()
        await running.guest.remove_container("side")
        await running.guest.add_container(ContainerSpec("side", running.slot, "erofs", MOUNTS))
        await running.guest.start_process(process_spec("sleep", "1000", container="side"))
        seen = await running.shell("ls /tmp; ps -o comm", container="side")
        assert "mine" not in seen.words
        assert seen.words.count("sleep") == 1


async def test_the_pods_interface_has_the_address_route_mac_and_mtu_it_was_given_last(lab: Lab) -> None:
    rehearsed = Interface(
        name="eth0",
        mac="02:bb:00:00:00:07",
        mtu=1300,
        addresses=("192.0.2.7/24", "2001:db8::7/64"),
        routes=(("192.0.2.0/24", ""), ("0.0.0.0/0", "192.0.2.1"), ("198.51.100.0/24", "192.0.2.1")),
    )
    interface = Interface(
        name="eth0",
        mac="02:aa:00:00:00:05",
        mtu=1400,
        addresses=("10.208.0.5/24", "fd00::5/64"),
        routes=(
            ("10.208.0.0/24", ""),
            ("fd00::1/128", ""),
            ("0.0.0.0/0", "10.208.0.1"),
            ("fd00::/64", "fd00::1"),
        ),
    )
    async with lab.machine() as (machine, guest):
        await guest.identify(identity("rehearsal", rehearsed))
        await guest.forget()
        await guest.identify(identity("pod", interface))
        slot = await machine.attach_disk(lab.image, read_only=True)
        await guest.add_container(ContainerSpec("main", slot, "erofs", MOUNTS))
        await guest.start_process(process_spec("sleep", "1000"))
        look = "hostname; ip link show eth0; ip addr; ip route; ip -6 route"
        seen = (await Running(machine, guest, slot).shell(look)).stdout.decode()
    for part in ("02:aa:00:00:00:05", "mtu 1400", "10.208.0.5/24", "fd00::5/64", "default via 10.208.0.1"):
        assert part in seen
    assert "fd00::/64 via fd00::1" in seen
    # Nor a way to its neighbours that nobody has told.
    for part in ("rehearsal", "02:bb", "192.0.2", "2001:db8", "198.51", "fd00::/64 dev"):
        assert part not in seen


async def test_a_process_is_the_user_it_should_be_and_can_do_no_more(lab: Lab) -> None:
    async with lab.running() as running:
        # The last is its own again: what is not dumpable, as the agent is, belongs to root.
        script = "id -u; id -g; id -G; echo $HOME; stat -c %u /proc/$$"
        who = await running.shell(script, user=1000, group=1000, additional_groups=(7,))
        assert who.words == ["1000", "1000", "1000", "7", "/home/guest", "1000"]
        bare = await running.shell(
            "grep -E 'Cap(Eff|Bnd)|NoNewPrivs' /proc/self/status", capabilities=1, no_new_privileges=True
        )
        assert bare.words == ["CapEff:", "0000000000000001", "CapBnd:", "0000000000000001", "NoNewPrivs:", "1"]
        limited = await running.shell("ulimit -n", rlimits=((7, 64, 64),))
        assert limited.words == ["64"]
        unlimited = await running.shell("ulimit -Sn; ulimit -Hn")
        assert unlimited.words == ["1024", "524288"]


async def test_a_volume_holds_what_was_last_written_and_nothing_older(lab: Lab) -> None:
    place = "/run/kontinuum/volumes/0"
    async with lab.machine() as (machine, guest):
        await guest.identify(identity())
        slot = await machine.attach_disk(lab.image, read_only=True)
        first = archive(**{".": None, "..1": None, "..1/key": "old", "..data": "-> ..1", "key": "-> ..data/key"})
        await guest.write_tree(place, first)
        mounts = (*MOUNTS, Mount("/etc/config", "bind", place, ("rbind", "ro")))
        await guest.add_container(ContainerSpec("main", slot, "erofs", mounts))
        await guest.start_process(process_spec("sleep", "1000"))
        running = Running(machine, guest, slot)
        assert (await running.shell("cat /etc/config/key")).stdout == b"old"
        second = archive(**{".": None, "..2": None, "..2/key": "new", "..data": "-> ..2", "key": "-> ..data/key"})
        await guest.write_tree(place, second)
        assert (await running.shell("cat /etc/config/key; ls -A /etc/config")).stdout == b"new..2\n..data\nkey\n"
        assert (await running.shell("touch /etc/config/x")).exit.status != 0
        assert await guest.read_file(f"{place}/key") == b"new"
        with pytest.raises(GuestRefused, match="No such file"):
            await guest.read_file(f"{place}/absent")


async def test_a_tree_that_would_leave_its_place_is_refused(lab: Lab) -> None:
    async with lab.machine() as (_machine, guest):
        await guest.identify(identity())
        with pytest.raises(GuestRefused):
            await guest.write_tree("/run/kontinuum/volumes/1", archive(**{"../escaped": "x"}))
        with pytest.raises(GuestRefused):
            await guest.write_tree("/run/kontinuum/volumes/2", archive(**{"out": "-> /run", "out/escaped": "x"}))
        with pytest.raises(GuestRefused):
            await guest.write_tree("/run/kontinuum/volumes/3", b"not a tar archive" * 1000)


async def test_a_slot_can_be_used_again_after_its_container_was_removed(lab: Lab) -> None:
    async with lab.running() as running:
        for _ in range(3):
            await running.guest.remove_container("main")
            await running.machine.detach_disk(running.slot)
            slot = await running.machine.attach_disk(lab.image, read_only=True)
            await running.guest.add_container(ContainerSpec("main", slot, "erofs", MOUNTS))
            await running.guest.start_process(process_spec("sleep", "1000"))
            assert (await running.shell("echo again")).stdout == b"again\n"
        await running.guest.remove_container("never-there")


async def test_an_agent_that_was_sent_rubbish_serves_the_next_host(lab: Lab) -> None:
    chance = random.Random(7)
    async with lab.machine() as (machine, guest):
        await guest.close()
        for _ in range(5):
            _reader, writer = await asyncio.open_unix_connection(sock=await machine.dial_agent())
            for _ in range(200):
                payload = chance.randbytes(chance.choice([0, 1, 4, 8, 30, 300]))
                if chance.random() < 0.5:
                    payload = bytes(byte % 3 for byte in payload)
                kind = chance.choice([*Kind, 77])
                writer.write(protocol.encode(Frame(kind, chance.randrange(5), payload, chance.randrange(4))))
            writer.write(chance.randbytes(100))
            await asyncio.sleep(0.2)
            writer.close()
            await asyncio.sleep(0.1)
        again = await connection.connect(machine.dial_agent)
        await again.identify(identity())
        slot = await machine.attach_disk(lab.image, read_only=True)
        await again.add_container(ContainerSpec("main", slot, "erofs", MOUNTS))
        await again.start_process(process_spec("sleep", "1000"))
        assert (await Running(machine, again, slot).shell("echo well")).stdout == b"well\n"
        await again.close()


async def test_a_panic_of_the_guests_kernel_is_a_lost_guest_and_the_end_of_the_machine(lab: Lab) -> None:
    async with lab.running() as running:
        waiting = await running.guest.start_process(process_spec("sleep", "1000"))
        with pytest.raises(GuestLost):
            await running.shell("echo c > /proc/sysrq-trigger; sleep 100")
        with pytest.raises(GuestLost):
            await waiting.wait()
        async with asyncio.timeout(10):
            await running.machine.wait()


async def test_what_a_guest_frees_the_host_gets_back(lab: Lab) -> None:
    async with lab.running() as running:
        assert (await running.shell("dd if=/dev/zero of=/dev/big bs=1M count=40")).exit.status == 0
        full = private_kilobytes(running.machine.pid)
        assert (await running.shell("rm /dev/big")).exit.status == 0
        async with asyncio.timeout(60):
            while private_kilobytes(running.machine.pid) > full - (30 << 10):
                await asyncio.sleep(0.1)
        assert (await running.shell("echo well")).stdout == b"well\n"


def private_kilobytes(pid: int) -> int:
    """Memory that a machine has to itself: what its guest has written, and QEMU's own."""
    found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


async def test_a_container_neither_stops_its_agent_nor_comes_by_what_that_has_open(lab: Lab) -> None:
    async with lab.running() as running:
        # Whoever starts a process has no home yet, and is looked up in the container's own file.
        for made in ("mkfifo /etc/passwd", "ln -s /proc/self/fd/1 /etc/passwd", "mkdir /etc/passwd"):
            assert (await running.shell(f"rm -rf /etc/passwd; {made}")).exit.status == 0
            async with asyncio.timeout(60):
                assert (await running.shell("echo $HOME")).words == ["/root"], made
        await running.guest.write_tree("/run/kontinuum/volumes/0", archive(**{".": None}))
        with pytest.raises(GuestRefused, match="Invalid argument"):
            await running.guest.read_file("/run/kontinuum/volumes/0")
        # A directory of the agent's would lead out of the container.
        for descriptor in range(3, 40):
            with pytest.raises(GuestRefused, match="chdir"):
                await running.shell("pwd", directory=f"/proc/self/fd/{descriptor}")
        assert (await running.shell("ls /proc/self/fd | wc -l")).words == ["4"], "the last is that of ls itself"


async def test_what_a_container_may_not_see_or_change_of_its_kernel_is_hidden_and_write_protected(lab: Lab) -> None:
    hidden = [Mount(path, "masked", "none", ()) for path in ("/proc/kcore", "/proc/fs", "/proc/no-such-thing")]
    protected = [Mount(path, "readonly", "none", ()) for path in ("/proc/sys", "/proc/sysrq-trigger", "/proc/neither")]
    async with lab.machine() as (machine, guest):
        await guest.identify(identity())
        slot = await machine.attach_disk(lab.image, read_only=True)
        await guest.add_container(ContainerSpec("main", slot, "erofs", (*MOUNTS, *hidden, *protected)))
        process = await guest.start_process(
            process_spec("sh", "-c", "tty; [ -c /dev/console ]; sleep 1000", terminal=True)
        )
        running = Running(machine, guest, slot)
        assert (await running.shell("wc -c < /proc/kcore; ls /proc/fs | wc -l")).words == ["0", "0"]
        for write in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/fs/made", "/proc/kcore/made"):
            assert (await running.shell(f"echo x > {write}")).exit.status != 0, write
        assert (await running.shell("cat /proc/sys/kernel/core_pattern")).words == ["core"]
        assert (await running.shell("[ -c /dev/console ] && echo here")).words == ["here"]
        await process.signal(9)


async def test_a_profile_is_loaded_for_every_user_and_takes_no_right_along(lab: Lab) -> None:
    """The agent loads it with a capability that the program must not be left with."""
    names = ["mkdir", "mkdirat"]
    no_directories = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": names, "action": "SCMP_ACT_ERRNO"}]}
    script = "grep -E 'CapPrm|CapEff|Seccomp:' /proc/self/status; mkdir /tmp/made && echo made"
    async with lab.running(filter=compile_profile(no_directories)) as running:
        for user, capabilities in ((0, 1 << 10), (1000, 1 << 10), (0, 0)):
            told = await running.shell(script, user=user, capabilities=capabilities)
            granted = f"{capabilities if user == 0 else 0:016x}"
            assert told.words == ["CapPrm:", granted, "CapEff:", granted, "Seccomp:", "2"], (user, told)
            assert b"Operation not permitted" in told.stderr
        with pytest.raises(ProcessNotStarted):
            await running.run("no-such-command")


async def test_a_profile_that_forbids_even_to_end_holds_nobody_up(lab: Lab) -> None:
    """What a process may not do after its profile was loaded must not make the agent wait for it."""
    execution = [{"names": ["execve"], "action": "SCMP_ACT_ALLOW"}]
    async with lab.machine() as (machine, guest):
        await guest.identify(identity())
        slot = await machine.attach_disk(lab.image, read_only=True)
        filter = compile_profile({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": execution})
        await guest.add_container(ContainerSpec("main", slot, "erofs", MOUNTS, filter=filter))
        with pytest.raises(ProcessNotStarted, match="exec /etc/passwd: Permission denied"):
            await guest.start_process(process_spec("/etc/passwd"))


async def test_what_listens_on_either_loopback_is_reached_from_the_host(lab: Lab) -> None:
    large = bytes(range(256)) * 4096
    async with lab.running() as running:
        for listen in ("127.0.0.1:70", "[::1]:71"):
            await running.guest.start_process(process_spec("httpd", "-f", "-p", listen, "-h", "/etc"))
        await running.guest.start_process(process_spec("nc", "-ll", "-p", "72", "-e", "cat"))
        listening = "$(cat /proc/net/tcp /proc/net/tcp6 | grep -c ' 0A ')"
        await running.shell(f"until [ {listening} -ge 3 ]; do sleep 0.05; done")
        for port in (70, 71):
            dialled = await running.guest.dial(port)
            await dialled.write(b"GET /passwd HTTP/1.0\r\n\r\n")
            assert b"root:x:0:0" in await collect(dialled.chunks())
            await dialled.close()
        for wrong in (73, 0, 65536):
            with pytest.raises(GuestRefused):
                await running.guest.dial(wrong)
        dialled = await running.guest.dial(72)
        echo = asyncio.ensure_future(collect(dialled.chunks()))
        await dialled.write(large)
        await dialled.end()
        assert await echo == large
        for _ in range(2):
            many = await asyncio.gather(*(running.guest.dial(72) for _ in range(20)))
            await asyncio.gather(*(one.close() for one in (dialled, *many)))
        # What the host has let go of ends inside too: each was a program that waits for its connection.
        await running.shell("while pidof cat > /dev/null; do sleep 0.05; done")
