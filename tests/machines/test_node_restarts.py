"""The parts around a pod die and come back; the pod does not notice."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.lifetimes import told_of
from tests.machines import containerd
from tests.machines.node import TestedNode, running_node, sh
from tests.machines.shim import wait_until

from kontinuum.api.kubernetes.resources import PODS
from kontinuum.api.machinery.objects import Object

pytestmark = pytest.mark.machine

COUNTING = "i=0; while true; do echo tick $i; i=$((i+1)); sleep 0.1; done"


@pytest.fixture
async def node() -> AsyncIterator[TestedNode]:
    async with running_node() as node:
        yield node


def facts(pod: Object) -> tuple[object, ...]:
    one = pod["status"]["containerStatuses"][0]
    return one["containerID"], one["restartCount"], one["state"]["running"]["startedAt"], pod["status"]["podIP"]


async def test_a_restarted_agent_adopts_what_runs(node: TestedNode) -> None:
    before = await node.run(sh("p", COUNTING))
    await node.stop_agent()
    await node.start_agent()
    await asyncio.sleep(1.5)
    assert facts(await node.get("p")) == facts(before)
    await node.delete("p")


async def test_a_killed_containerd_takes_no_pod_with_it(node: TestedNode) -> None:
    before = await node.run(sh("p", COUNTING))
    main = containerd.PROCESSES[str(node.settings.socket)]
    os.kill(main.pid, signal.SIGKILL)
    await main.wait()
    await asyncio.sleep(0.5)
    await containerd.start(node.settings)
    await asyncio.sleep(1.5)
    assert facts(await node.get("p")) == facts(before)
    ticks = [int(line.split()[1]) for line in (await node.logs("p")).splitlines()]
    assert ticks == list(range(len(ticks)))
    again = await node.run(sh("q", "sleep 600"))
    assert again["status"]["podIP"] != before["status"]["podIP"]


async def test_what_the_api_forgot_while_the_agent_was_away_is_ended(node: TestedNode) -> None:
    await node.run(sh("p", COUNTING))
    await node.stop_agent()
    await node.client.delete(PODS, "p", namespace="default", grace_seconds=0)
    await node.start_agent()
    async with asyncio.timeout(15):
        while await node.cri.fingerprints() or list((node.settings.data / "pods").iterdir()):
            await asyncio.sleep(0.05)


async def test_a_container_that_died_meanwhile_is_restarted(node: TestedNode) -> None:
    before = await node.run(sh("p", COUNTING))
    await node.stop_agent()
    container = (await node.cri.observe(before["metadata"]["uid"])).containers[0]
    await node.cri.stop_container(container.id, 0)
    await node.start_agent()
    pod = await node.wait("p", lambda one: one["status"]["containerStatuses"][0]["restartCount"] == 1)
    assert pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 137


async def test_a_dead_sandbox_is_made_again_with_everything_in_it(node: TestedNode) -> None:
    before = await node.run(sh("p", COUNTING))
    await node.cri.stop_sandbox((await node.cri.observe(before["metadata"]["uid"])).sandboxes[0].id)

    def runs_again(one: Object) -> bool:
        # At least once: a restart inside the dying sandbox may come first.
        container = one["status"]["containerStatuses"][0]
        is_other = one["status"].get("podIP") != before["status"]["podIP"]
        return container["restartCount"] >= 1 and "running" in container["state"] and is_other

    pod = await node.wait("p", runs_again)
    assert pod["status"]["phase"] == "Running"
    observed = await node.cri.observe(before["metadata"]["uid"])
    assert [sandbox.is_ready for sandbox in observed.sandboxes].count(True) == 1


def leftovers(node: TestedNode) -> dict[str, list[str]]:
    cgroups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/kontinuum/{node.settings.instance}/pod*")]
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(node.settings.data) in line]
    shims = list(told_of(node.settings.socket).values())
    return {"cgroups": cgroups, "mounts": [line for line in mounts if "/pods/" in line], "processes": shims}


async def test_ten_pods_come_and_go_and_leave_nothing(node: TestedNode) -> None:
    before = leftovers(node)
    volumes = [{"name": "v", "emptyDir": {"medium": "Memory"}}]
    mounts = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    names = [f"p{index}" for index in range(10)]
    await asyncio.gather(*(node.run(sh(name, "sleep 600", volumes=volumes, container=mounts)) for name in names))
    await asyncio.gather(*(node.delete(name, grace=1) for name in names))
    await wait_until(lambda: leftovers(node) == before)
    assert not await node.cri.fingerprints()
