"""Sessions by the hundred, and containers that write as fast as they can: all are served, and nothing is left of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest
from tests.connections import until_all_are_closed
from tests.machines.platform import Object, Platform, pod, wait_until

from kontinuum.client.kubeconfig import load

pytestmark = pytest.mark.machine
CLASSES = ("container", "microvm")
PARTS = ("server", "node")
COMMAND = "echo ready; read word; echo got $word"
LINE = "x" * 99
PROBE = {"exec": {"command": ["true"]}, "periodSeconds": 1, "timeoutSeconds": 120, "failureThreshold": 3}
STDOUT, ERROR = 1, 3
"""Channels of a session."""
BEGINNING = 10
"""Sessions that begin at the same time: each is a program to be started, and probes want a share of the processor."""
PATIENCE = 240.0
MOST_GROWTH_BYTES = 64 << 20
"""Of the agent's memory, whatever logs are written beside it; and for each session that there was:"""
SESSION_BYTES = 512 << 10


class Held(NamedTuple):
    """What a process holds of the system."""

    descriptors: int
    threads: int
    resident_bytes: int


def held(pid: int) -> Held:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Held(descriptors, int(status["Threads"]), int(status["VmRSS"].split()[0]) << 10)


def parts(platform: Platform) -> dict[str, int]:
    pids = {part.name: part.pid for part in platform.state().parts}
    return {name: pid for name in PARTS if (pid := pids[name]) is not None}


async def session(
    http: aiohttp.ClientSession, url: str, number: int, beginning: asyncio.Semaphore, gate: asyncio.Barrier
) -> str:
    """One exec that talks only when all others are there, too; answers what it was told. Fails if it is refused."""
    said = ""
    query = [("command", word) for word in ("sh", "-c", COMMAND)] + [(name, "1") for name in ("stdin", "stdout")]
    async with contextlib.AsyncExitStack() as begun:
        await begun.enter_async_context(beginning)
        async with http.ws_connect(url, params=query, protocols=("v5.channel.k8s.io",), max_msg_size=0) as socket:
            async for message in socket:
                channel, content = message.data[0], message.data[1:].decode()
                assert channel != ERROR or json.loads(content)["status"] == "Success", f"session {number}: {content}"
                if channel == STDOUT and "ready" in content:
                    await begun.aclose()
                    await gate.wait()
                    await socket.send_bytes(b"\0" + f"{number}\n".encode())
                said += content if channel == STDOUT else ""
    assert said, f"session {number} ended without a word"
    return said


async def sessions(platform: Platform, counts: dict[str, int]) -> list[str]:
    """As many sessions with each pod as it says, all open at the same time."""
    connection = load(platform.kubeconfig)
    connector = aiohttp.TCPConnector(ssl=connection.tls_context(), limit=0)
    names = [name for name, count in counts.items() for _ in range(count)]
    gate, beginning = asyncio.Barrier(len(names)), asyncio.Semaphore(BEGINNING)
    async with aiohttp.ClientSession(connector=connector) as http, asyncio.TaskGroup() as group:
        # The first that fails ends all others, which would wait for it.
        tasks = [
            group.create_task(session(http, url, number, beginning, gate))
            for number, url in enumerate(
                f"{connection.server}/api/v1/namespaces/default/pods/{name}/exec" for name in names
            )
        ]
    await until_all_are_closed()
    return [task.result() for task in tasks]


def files_of(platform: Platform, name: str) -> list[Path]:
    return list((platform.data_dir / "logs" / "pods").glob(f"default_{name}_*/main/*"))


@pytest.mark.parametrize(
    ("counts", "rotations"),
    [
        ((30, 6), 1),
        pytest.param((500, 500), 0, marks=pytest.mark.long),
        pytest.param((100, 100), 4, marks=pytest.mark.long),
    ],
)
def test_a_flood_of_output_and_of_sessions_is_served_and_leaves_nothing(
    platform: Platform, counts: tuple[int, int], rotations: int
) -> None:
    """``counts``: of sessions with a pod of each class. Without ``rotations`` of their logs there are no floods."""
    neighbours = {cls: f"neighbour-{cls}" for cls in CLASSES}
    floods = {cls: f"flood-{cls}" for cls in CLASSES if rotations}
    # A machine without a limit has 128 MiB, and each shell in it takes a quarter of one.
    room = {"resources": {"limits": {"memory": "384Mi"}}} if counts[1] > 30 else {}
    probes = {"livenessProbe": PROBE, "readinessProbe": PROBE, **room}
    platform.apply(*(pod(name, cls, container=probes) for cls, name in neighbours.items()))
    for name in neighbours.values():
        platform.wait_running(name, seconds=PATIENCE)
    platform.kubectl("exec", neighbours["container"], "--", "true")
    pids = parts(platform)
    before = {part: held(pid) for part, pid in pids.items()}

    if floods:
        platform.apply(*(pod(name, cls, f"yes {LINE}") for cls, name in floods.items()))
    for name in floods.values():
        platform.wait_running(name, seconds=PATIENCE)
    answers = asyncio.run(sessions(platform, dict(zip(neighbours.values(), counts, strict=True))))
    assert answers == [f"ready\ngot {number}\n" for number in range(len(answers))]

    for name in floods.values():
        wait_until(
            f"the log of {name} to be rotated",
            lambda name=name: len(files_of(platform, name)) > rotations,
            seconds=PATIENCE,
        )
        # Of the newest file, which may just have been begun.
        wait_until(
            f"the last lines of {name}",
            lambda name=name: platform.kubectl("logs", name, "--tail=3").stdout == f"{LINE}\n" * 3,
            seconds=PATIENCE,
        )
        assert len(files_of(platform, name)) <= 6  # five, and one that is just being renamed
    assert (
        held(pids["node"]).resident_bytes
        < before["node"].resident_bytes + MOST_GROWTH_BYTES + len(answers) * SESSION_BYTES
    )
    for name in neighbours.values():
        status: Object = platform.get("pod", name)["status"]["containerStatuses"][0]
        assert (status["restartCount"], status["ready"]) == (0, True), name
    if floods:
        platform.kubectl("delete", "pod", *floods.values(), "--timeout=60s")

    def is_as_before() -> bool:
        now = {part: held(pid) for part, pid in pids.items()}
        return all(now[part].descriptors <= before[part].descriptors + 2 for part in pids)

    assert parts(platform) == pids, "a part was restarted"
    # Connections between the parts are kept for a while when nobody needs them any more.
    wait_until("descriptors to be given back", is_as_before, seconds=PATIENCE)
    platform.kubectl("delete", "pod", *neighbours.values(), "--timeout=60s")
