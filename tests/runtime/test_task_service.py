"""The task service: what containerd may ask, in every order that it asks in."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import pytest
from tests.runtime.containerd import Containerd
from tests.runtime.pod import TestedPod, pod

from kontinuum.runtime import codec, layers, messages, sandbox, shim
from kontinuum.runtime.guest.fake import FakeGuest, FakeProcess
from kontinuum.runtime.guest.port import ContainerSpec, ContainerStats, GuestRefused, ProcessSpec
from kontinuum.runtime.messages import Mount
from kontinuum.runtime.process import Phase
from kontinuum.runtime.task import pids as task_pids
from kontinuum.runtime.task.errors import ALREADY_EXISTS, FAILED_PRECONDITION, NOT_FOUND, UNIMPLEMENTED
from kontinuum.runtime.ttrpc import CallFailed
from kontinuum.runtime.vmm.fake.backend import SLOTS, FakeMachine, FakeVmm
from kontinuum.runtime.vmm.port import MachineNotStarted, MachineRefused, MachineSpec
from kontinuum.runtime.warm import bustle


async def refused(call: object, code: int) -> str:
    with pytest.raises(CallFailed) as caught:
        await call  # type: ignore[misc]
    assert caught.value.code == code
    return str(caught.value)


async def test_output_and_exit_code_of_a_container_reach_containerd(tmp_path: Path) -> None:
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        out, err = tested.fifo("out"), tested.fifo("err")
        reader = os.open(out, os.O_RDWR | os.O_NONBLOCK), os.open(err, os.O_RDWR | os.O_NONBLOCK)
        await tested.run("c", "sh", "-c", "echo hello; echo trouble >&2; exit 7", stdout=out, stderr=err)
        waiting = asyncio.create_task(tested.wait("c"))
        await asyncio.sleep(0.1)
        assert not waiting.done(), "an exit was reported before its output was taken"
        assert os.read(reader[0], 100) == b"hello\n"
        assert os.read(reader[1], 100) == b"trouble\n"
        assert await waiting == 7
        for descriptor in reader:
            os.close(descriptor)
        exits = tested.heard(messages.TaskExit)
        assert [(event.container_id, event.id, event.exit_status) for event in exits] == [("c", "c", 7)]


async def test_output_that_nobody_takes_holds_an_exit_back_for_a_bounded_time(tmp_path: Path) -> None:
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        began = time.monotonic()
        await tested.run("c", "sh", "-c", "echo hello", stdout=tested.fifo("out"))
        assert await tested.wait("c") == 0
        assert time.monotonic() - began < 30


async def test_input_ends_only_by_closeio_and_after_all_of_it(tmp_path: Path) -> None:
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        into, out = tested.fifo("in"), tested.fifo("out")
        reader = os.open(out, os.O_RDWR | os.O_NONBLOCK)
        await tested.run("c", "wc", "-c", stdin=into, stdout=out)
        writer = os.open(into, os.O_WRONLY)
        os.write(writer, b"x" * 30_000)
        os.close(writer)
        await tested.call("CloseIO", messages.CloseIORequest("c", "", True), messages.Empty)
        waiting = asyncio.create_task(tested.wait("c"))
        async with asyncio.timeout(60):
            while True:
                try:
                    assert os.read(reader, 100).strip() == b"30000"
                    break
                except BlockingIOError:
                    await asyncio.sleep(0.01)
        assert await waiting == 0
        os.close(reader)


async def test_a_missing_command_is_explained_as_runc_does(tmp_path: Path) -> None:
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        tested.bundle("c", "container", "nope")
        await tested.create("c")
        message = await refused(tested.start("c"), 2)
        assert message == (
            "OCI runtime create failed: start failed: unable to start container process: "
            'exec: "nope": executable file not found in $PATH: unknown'
        )
        assert (await tested.state("c")).status == Phase.CREATED
        await tested.delete("c")


async def test_an_exec_lives_in_its_container_and_ends_with_it(tmp_path: Path) -> None:
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        await tested.run("c", "sleep", "1000")
        spec = messages.Any("", json.dumps({"args": ["sleep", "1000"], "cwd": "/"}).encode())
        await tested.call("Exec", messages.ExecProcessRequest("c", "e", spec=spec), messages.Empty)
        await refused(
            tested.call("Exec", messages.ExecProcessRequest("c", "e", spec=spec), messages.Empty), ALREADY_EXISTS
        )
        await tested.start("c", "e")
        await refused(tested.delete("c", "e"), FAILED_PRECONDITION)
        await tested.kill("c", signal.SIGTERM)
        assert await tested.wait("c") == 128 + signal.SIGTERM
        assert await tested.wait("c", "e") == 128 + signal.SIGKILL
        assert (await tested.delete("c", "e")).exit_status == 137
        assert (await tested.delete("c")).exit_status == 143


async def test_what_is_not_there_is_not_found_and_what_is_there_is_not_made_twice(tmp_path: Path) -> None:
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        await refused(tested.state("c"), NOT_FOUND)
        await tested.run("c", "true")
        await refused(tested.create("c"), ALREADY_EXISTS)
        await refused(tested.state("c", "e"), NOT_FOUND)
        await tested.wait("c")
        await refused(tested.kill("c", 9), NOT_FOUND)
        await refused(tested.start("c"), FAILED_PRECONDITION)
        await refused(tested.call("Checkpoint", messages.Empty(), messages.Empty), UNIMPLEMENTED)


async def test_a_container_killed_before_its_start_has_ended(tmp_path: Path) -> None:
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        tested.bundle("c", "container", "true")
        await tested.create("c")
        await tested.kill("c", 9)
        assert await tested.wait("c") == 137
        assert (await tested.state("c")).status == Phase.STOPPED


async def test_containers_of_one_image_share_a_disk_and_each_has_its_own_to_write_to(tmp_path: Path) -> None:
    """The one until the last container is deleted, the other where containerd counts what a container writes."""
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            overlay = Mount(type="overlay", options=("lowerdir=/image", f"upperdir={tmp_path / name}"))
            await tested.run(name, "true", rootfs=(overlay,))
            await tested.wait(name)
        [machine] = tested.vmm.machines
        assert list(machine.layers.values()) == [tmp_path / name / layers.NAME for name in ("a", "b")]
        assert {one.layer for one in tested.guest.containers.values()} == set(machine.layers) == tested.guest.layers
        assert len(machine.disks) == 3
        await tested.delete("a")
        assert len(machine.disks) == 2
        assert [(tmp_path / name / layers.NAME).exists() for name in ("a", "b")] == [False, True]
        await tested.delete("b")
        assert machine.disks == {}
        assert tested.guest.containers == {}
        assert tested.guest.layers == set()


async def test_a_slot_is_of_the_image_that_is_in_it_now(tmp_path: Path) -> None:
    """Two init containers and their successor: the second image lies where the first one did."""
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        for name, image in (("first", "a"), ("second", "b"), ("main", "a")):
            await tested.run(name, "true", rootfs=(Mount(type="overlay", options=(f"lowerdir=/{image}",)),))
            [machine] = tested.vmm.machines
            slot = tested.guest.containers[name].slot
            assert os.path.samestat(os.fstat(machine.disks[slot]), (tmp_path / f"{image}.erofs").stat()), name
            await tested.wait(name)
            await tested.delete(name)
            assert machine.disks == {}


async def test_a_container_that_writes_nothing_over_its_image_has_no_disk_for_it(tmp_path: Path) -> None:
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        tested.bundle("a", "container", "true", root={"readonly": True})
        await tested.create("a")
        [machine] = tested.vmm.machines
        assert machine.layers == {}
        assert tested.guest.containers["a"].layer == ""


async def test_a_layer_that_the_guest_has_not_let_go_of_is_given_to_no_other_container(tmp_path: Path) -> None:
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        await tested.run("a", "true")
        await tested.wait("a")
        [machine] = tested.vmm.machines

        async def refuse(*_: object, **__: object) -> None:
            raise GuestRefused("unmount the layer: Device or resource busy")

        tested.guest.remove_container = refuse  # type: ignore[method-assign]
        await tested.delete("a")
        [held] = machine.layers
        await tested.run("b", "true")
        assert set(machine.layers) - {held} == {tested.guest.containers["b"].layer}


async def test_a_container_that_does_not_come_to_be_leaves_no_disk(tmp_path: Path) -> None:
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        for attempt in range(SLOTS + 1):
            tested.guest.containers["a"] = ContainerSpec("a", "", "")
            tested.bundle(str(attempt), "container", "true")
            with pytest.raises(CallFailed, match="there already"):
                await tested.create("a", bundle=str(tmp_path / "bundles" / str(attempt)))
        [machine] = tested.vmm.machines
        assert machine.disks == {}
        assert tested.guest.layers == set()


async def test_a_container_whose_specification_is_refused_leaves_no_disk(tmp_path: Path) -> None:
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        (tmp_path / "upper").mkdir()
        overlay = Mount(type="overlay", options=("lowerdir=/image", f"upperdir={tmp_path / 'upper'}"))
        tested.bundle("c", "container", "true", linux={"seccomp": {"listenerPath": "/somebody"}})
        with pytest.raises(CallFailed, match="listenerPath"):
            await tested.create("c", rootfs=(overlay,))
        [machine] = tested.vmm.machines
        assert machine.disks == {}
        assert list((tmp_path / "upper").iterdir()) == []


async def test_a_volume_that_could_not_be_mounted_can_be_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disk is in use by one machine at a time: what is left in a slot would be in its own way."""
    volume = tmp_path / "pods/uid/volumes/data"
    volume.mkdir(parents=True)
    (tmp_path / "disk").touch()
    volume.with_name("data.disk").write_text(json.dumps({"image": str(tmp_path / "disk"), "fileSystem": "ext4"}))
    mounts = [{"destination": "/data", "type": "bind", "source": str(volume), "options": ["rbind"]}]
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        tested.bundle("c", "container", "true", mounts=mounts)

        async def refuse(*_: object) -> None:
            raise GuestRefused("disk scsi0: Resource temporarily unavailable")

        monkeypatch.setattr(tested.guest, "mount_disk", refuse)
        with pytest.raises(CallFailed, match="temporarily unavailable"):
            await tested.create("c")
        [machine] = tested.vmm.machines
        assert machine.disks == {}
        monkeypatch.undo()
        await tested.create("c")
        assert list(tested.guest.disks) == [tested.guest.containers["c"].mounts[0].source]


async def test_what_is_killed_while_it_is_being_started_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a probe that takes too long: containerd kills and deletes it, and hears no more of it."""
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        await tested.run("c", "sleep", "1000")
        usual, asked, go = tested.guest.start_process, asyncio.Event(), asyncio.Event()

        async def slow(spec: ProcessSpec) -> FakeProcess:
            asked.set()
            await go.wait()
            return await usual(spec)

        monkeypatch.setattr(tested.guest, "start_process", slow)
        spec = messages.Any("", json.dumps({"args": ["sleep", "1000"], "cwd": "/"}).encode())
        await tested.call("Exec", messages.ExecProcessRequest("c", "e", spec=spec), messages.Empty)
        starting = asyncio.create_task(tested.start("c", "e"))
        await asked.wait()
        await tested.kill("c", signal.SIGKILL, "e")
        assert (await tested.delete("c", "e")).exit_status == 137
        go.set()
        assert "while it was being started" in await refused(starting, FAILED_PRECONDITION)
        async with asyncio.timeout(60):
            while len(await tested.guest.processes("c")) > 1:
                await asyncio.sleep(0.01)
        assert [event.id for event in tested.heard(messages.TaskExit)] == ["e"]


async def test_nothing_is_told_of_what_was_in_a_dead_machine_before_containerd_has_dropped_its_sandbox(
    tmp_path: Path,
) -> None:
    """Whoever heard of it earlier would start it again in the same sandbox, which cannot be."""
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        await tested.run("c", "sleep", "1000")
        for name in ("made", "late"):
            tested.bundle(name, "container", "true")
        await tested.create("made")
        os.kill(tested.vmm.machines[0].pid, signal.SIGKILL)
        assert await tested.wait("sandbox") == 137
        early = [asyncio.create_task(call) for call in (tested.wait("c"), tested.start("made"), tested.create("late"))]
        await asyncio.sleep(0.1)
        assert [call.done() for call in early] == [False] * 3
        assert (await tested.state("c")).status == Phase.RUNNING
        await tested.delete("sandbox")
        assert await early[0] == 137
        for call in early[1:]:
            assert "its VMM ended with status -9" in await refused(call, 2)
        assert [event.id for event in tested.heard(messages.TaskExit)] == ["sandbox", "c"]
        assert not tested.heard(messages.TaskOOM)
        await tested.delete("c")


async def test_an_end_in_a_dead_machine_is_told_even_if_containerd_does_not_drop_its_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shim, "_HEARING_SECONDS", 0.01)
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        await tested.run("c", "sleep", "1000")
        os.kill(tested.vmm.machines[0].pid, signal.SIGKILL)
        assert await tested.wait("c") == 137


async def test_what_a_machine_takes_with_it_that_the_host_had_no_memory_for_was_out_of_memory(tmp_path: Path) -> None:
    counter = tmp_path / "memory.oom_control"
    counter.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")
    async with pod(tmp_path, cgroups=(tmp_path,)) as tested:
        await tested.sandbox()
        await tested.run("c", "sleep", "1000")
        counter.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
        os.kill(tested.vmm.machines[0].pid, signal.SIGKILL)
        await tested.wait("sandbox")
        await tested.delete("sandbox")
        assert await tested.wait("c") == 137
        # Before the exit, or containerd would not say OOMKilled.
        told = [
            type(one)
            for one in tested.events
            if isinstance(one, messages.TaskOOM | messages.TaskExit) and one.container_id == "c"
        ]
        assert told == [messages.TaskOOM, messages.TaskExit]
        await tested.delete("c")


async def test_an_end_for_want_of_memory_is_answered_when_containerd_knows_what_it_was_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the end from the answer: whoever asked it between that and the event would read Error."""
    monkeypatch.setattr(shim, "_LAST_EVENTS_SECONDS", 60.0)
    (tmp_path / "memory.events").write_text("oom_kill 1\n")
    containerd = Containerd(tmp_path / "events.sock")
    await containerd.start()
    async with pod(tmp_path, cgroups=(tmp_path,), events=containerd.path) as tested:
        await tested.sandbox()
        await tested.run("c", "sleep", "1000")
        containerd.has_time.clear()
        os.kill(tested.vmm.machines[0].pid, signal.SIGKILL)
        await tested.wait("sandbox")
        await tested.delete("sandbox")
        waiting = asyncio.create_task(tested.wait("c"))
        while (await tested.state("c")).status != Phase.STOPPED:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert not waiting.done()
        containerd.has_time.set()
        assert await waiting == 137
        assert "/tasks/oom" in [topic for topic, _ in containerd.heard]
        await tested.delete("c")
    containerd.stop()


async def test_a_machine_is_as_safe_from_the_hosts_want_of_memory_as_the_safest_of_its_containers(
    tmp_path: Path,
) -> None:
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        await tested.run("without", "sleep", "1000")
        score = Path(f"/proc/{tested.vmm.machines[0].pid}/oom_score_adj")
        assert score.read_text() == Path("/proc/self/oom_score_adj").read_text()
        for name, own, expected in (("low", 1000, "1000\n"), ("high", 900, "900\n"), ("other", 950, "900\n")):
            process = {"args": ["sleep", "1000"], "cwd": "/", "oomScoreAdj": own}
            tested.bundle(name, "container", process=process)
            await tested.create(name)
            assert score.read_text() == expected


@pytest.mark.parametrize("for_good", [False, True])
async def test_a_machine_that_the_host_has_no_room_for_stands_still_until_there_is_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, for_good: bool
) -> None:
    monkeypatch.setattr(sandbox, "_ROOM_SECONDS", 0.01)
    async with pod(tmp_path, full_disk_seconds=0.05 if for_good else 600.0) as tested:
        await tested.sandbox()
        await tested.run("c", "sleep", "1000")
        [machine] = tested.vmm.machines
        machine.is_full.set()
        if for_good:
            assert await tested.wait("sandbox") == 137
            assert "no room" in tested.shim.sandbox.reason
            assert await machine.wait() == -signal.SIGKILL
            return
        async with asyncio.timeout(60):
            while machine.resumed < 3:
                await asyncio.sleep(0.01)
        machine.is_full.clear()
        await tested.kill("c", signal.SIGKILL)
        assert await tested.wait("c") == 137
        assert tested.shim.sandbox.phase is sandbox.Phase.READY


async def test_what_a_container_takes_is_told_as_it_was_while_its_machine_stands_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that stands still says nothing, and everybody's numbers would wait for it."""
    asked = asyncio.Event()

    async def stands(_: FakeGuest, container: str) -> ContainerStats:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError("an event that nobody sets")

    async with pod(tmp_path, full_disk_seconds=600.0) as tested:
        await tested.sandbox()
        for name in ("known", "new"):
            await tested.run(name, "sleep", "1000")
        known = await tested.stats("known")
        assert known.memory is not None
        monkeypatch.setattr(FakeGuest, "stats", stands)
        async with asyncio.timeout(60):
            asking = asyncio.create_task(tested.stats("known"))
            await asked.wait()
            tested.vmm.machines[0].is_full.set()
            assert await asking == known
            assert await tested.stats("known") == known
            assert await tested.stats("new") == messages.Metrics()


async def test_a_machine_that_may_not_go_on_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest that has panicked while its host had no room: QEMU resumes that no more."""

    async def refuse(_: FakeMachine) -> None:
        raise MachineRefused("QEMU refused cont: Resetting the Virtual Machine is required")

    monkeypatch.setattr(sandbox, "_ROOM_SECONDS", 0.01)
    monkeypatch.setattr(FakeMachine, "resume", refuse)
    async with pod(tmp_path, full_disk_seconds=0.05) as tested:
        await tested.sandbox()
        await tested.run("c", "sleep", "1000")
        tested.vmm.machines[0].is_full.set()
        assert await tested.wait("sandbox") == 137


async def test_a_machine_whose_agent_is_lost_is_ended_because_nothing_is_known_of_it_any_more(tmp_path: Path) -> None:
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        await tested.run("c", "sleep", "1000")
        [machine] = tested.vmm.machines
        await tested.guest.close()
        assert await tested.wait("sandbox") == 137
        assert await machine.wait() == -signal.SIGKILL
        tested.bundle("late", "container", "true")
        late = asyncio.create_task(tested.create("late"))
        await asyncio.sleep(0)
        await tested.delete("sandbox")
        assert "the fake guest was lost" in await refused(late, 2)
        assert await tested.wait("c") == 137


class Slow(FakeVmm):
    """Machines that take for ever, or fail, as told."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def start(self, spec: MachineSpec) -> FakeMachine:
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return await super().start(spec)


async def test_state_and_stats_answer_while_the_machine_is_still_starting(tmp_path: Path) -> None:
    async with pod(tmp_path, vmm=Slow()) as tested:
        await tested.sandbox()
        tested.bundle("c", "container", "true")
        creating = asyncio.create_task(tested.create("c"))
        await asyncio.sleep(0.01)
        async with asyncio.timeout(30):
            assert (await tested.state("sandbox")).status == Phase.RUNNING
            assert (await tested.state("c")).status == Phase.CREATED
            assert await tested.stats("c") == messages.Metrics()
            await tested.kill("sandbox", 9)
        with pytest.raises(CallFailed, match="the machine of this pod is stopp"):
            await creating


@pytest.mark.parametrize("error", [MachineNotStarted("no memory for it"), ZeroDivisionError("no memory for it")])
async def test_a_machine_that_cannot_start_ends_its_sandbox_and_says_why(tmp_path: Path, error: Exception) -> None:
    vmm = Slow()
    async with pod(tmp_path, vmm=vmm) as tested:
        await tested.sandbox()
        vmm.error = error
        vmm.go.set()
        assert await tested.wait("sandbox") == 255
        await tested.delete("sandbox")
        tested.bundle("c", "container", "true")
        assert "no memory for it" in await refused(tested.create("c"), 2)


async def test_whatever_goes_wrong_beside_a_machine_its_pod_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(machine: FakeMachine) -> None:
        raise ZeroDivisionError("nobody has thought of this")

    monkeypatch.setattr(FakeMachine, "wait_full", breaks)
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        assert await tested.wait("sandbox") == 137
        assert "nobody has thought of this" in tested.shim.sandbox.reason


async def test_shutdown_ends_the_shim_only_when_no_container_is_left(tmp_path: Path) -> None:
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        await tested.call("Shutdown", messages.ShutdownRequest("x"), messages.Empty)
        assert not tested.shim.finished.is_set()
        await tested.kill("sandbox", 9)
        assert (await tested.delete("sandbox")).exit_status == 137
        await tested.call("Shutdown", messages.ShutdownRequest("sandbox"), messages.Empty)
        assert tested.shim.finished.is_set()


async def test_stats_come_in_containerds_form(tmp_path: Path) -> None:
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        await tested.run("c", "sleep", "1000")
        stats = (await tested.call("Stats", messages.StatsRequest("c"), messages.StatsResponse)).stats
        assert stats is not None and stats.type_url == "io.containerd.cgroups.v1.Metrics"
        metrics = codec.decode(messages.Metrics, stats.value)
        assert metrics.memory == messages.MemoryStat(1 << 20, 1 << 20, messages.MemoryEntry(0, 2 << 20))


async def test_a_container_has_a_process_for_containerd_until_it_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shim without any is taken for one that was never used when containerd starts, and its container is deleted."""

    async def stands(_: FakeGuest, container: str) -> tuple[int, ...]:
        await asyncio.Event().wait()
        raise AssertionError("an event that nobody sets")

    async with pod(tmp_path, full_disk_seconds=600.0) as tested, asyncio.timeout(60):

        async def pids(name: str) -> list[int]:
            answer = await tested.call("Pids", messages.PidsRequest(name), messages.PidsResponse)
            return [process.pid for process in answer.processes]

        await tested.sandbox()
        await tested.run("over", "true")
        await tested.run("c", "sleep", "1000")
        await tested.wait("over")
        inside, on_the_host = await pids("c"), (await tested.state("c")).pid
        assert len(inside) == 1 and inside != [on_the_host]
        assert await pids("over") == [(await tested.state("over")).pid]
        monkeypatch.setattr(task_pids, "ANSWER_SECONDS", 0.01)
        monkeypatch.setattr(FakeGuest, "processes", stands)
        assert await pids("c") == [on_the_host]
        os.kill(tested.vmm.machines[0].pid, signal.SIGKILL)
        assert await tested.wait("sandbox") == 137
        assert await pids("c") == [on_the_host]


async def test_a_machine_whose_agent_hangs_is_replaced(tmp_path: Path) -> None:
    async with pod(tmp_path, hangs=1) as tested:
        await tested.sandbox()
        await tested.run("c", "sh", "-c", "exit 3")
        assert await tested.wait("c") == 3
        first, second = tested.vmm.machines
        assert not Path(f"/proc/{first.pid}").exists()
        assert Path(f"/proc/{second.pid}").exists()


async def test_a_pod_whose_machines_all_hang_fails_and_says_so(tmp_path: Path) -> None:
    async with pod(tmp_path, hangs=3) as tested:
        await tested.sandbox()
        assert await tested.wait("sandbox") == 255
        await tested.delete("sandbox")
        tested.bundle("c", "container", "true")
        assert "the agents of 3 machines did not answer" in await refused(tested.create("c"), 2)
        assert not any(Path(f"/proc/{machine.pid}").exists() for machine in tested.vmm.machines)


async def test_a_machine_lets_go_of_its_disks_once_however_often_its_end_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second call came while disks were still being written: it must wait for the same end, and find it."""
    volume = tmp_path / "pods/uid/volumes/data"
    volume.mkdir(parents=True)
    image = tmp_path / "disk"
    image.touch()
    volume.with_name("data.disk").write_text(json.dumps({"image": str(image), "fileSystem": "ext4"}))
    asked: list[str] = []
    is_written = asyncio.Event()
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        mount = {"destination": "/data", "type": "bind", "source": str(volume), "options": ["rbind"]}
        tested.bundle("c", "container", "true", mounts=[mount])
        await tested.create("c")
        [disk] = tested.guest.disks.values()
        assert disk.file_system == "ext4"

        async def unmount(path: str) -> None:
            asked.append(path)
            await is_written.wait()

        monkeypatch.setattr(tested.guest, "unmount", unmount)
        ends = [asyncio.create_task(tested.shim.sandbox.stop()) for _ in range(3)]
        async with asyncio.timeout(60):
            while not asked:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # long enough, mostly, for a call that should not come
        assert (asked, [end.done() for end in ends]) == ([disk.path], [False] * 3)
        is_written.set()
        await asyncio.gather(*ends)
        assert tested.shim.sandbox.phase.value == "stopped"


async def settled(tested: TestedPod) -> None:
    """Long after the moment in which a machine that is wanted for nothing begins to rehearse."""
    await tested.shim.sandbox.guest()
    for _ in range(100):
        await asyncio.sleep(0)


async def test_a_machine_rehearses_while_its_pod_waits_for_its_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_PULLING_SECONDS", 0.0)
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        async with asyncio.timeout(60):
            await tested.rehearsed.wait()
        await tested.run("c", "true")
        assert await tested.wait("c") == 0


async def test_a_machine_does_not_rehearse_while_another_pod_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_PULLING_SECONDS", 0.0)
    other = bustle.begin(tmp_path / "starting")
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        await settled(tested)
        assert not tested.rehearsed.is_set()
    os.close(other)


async def test_a_machine_that_is_wanted_does_not_rehearse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_PULLING_SECONDS", 0.05)
    async with pod(tmp_path) as tested:
        await tested.sandbox()
        await tested.run("c", "sleep", "1000")
        await asyncio.sleep(0.1)
        assert not tested.rehearsed.is_set()
