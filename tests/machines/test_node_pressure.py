"""Eviction on a real node whose disk is small: limits of pods, then the disk itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.machines.node import NAME, TestedNode, running_node, sh

from kontinuum.api.kubernetes.resources import NODES
from kontinuum.api.machinery.conditions import is_true
from kontinuum.api.machinery.objects import Object
from kontinuum.node.eviction import evictor
from kontinuum.node.shutdown import progress
from kontinuum.node.usage import measuring

pytestmark = pytest.mark.machine


@pytest.fixture
async def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[TestedNode]:
    monkeypatch.setattr(evictor, "LOOK_SECONDS", 0.5)
    monkeypatch.setattr(measuring, "LEAST_SECONDS", 0.0)
    hard = {"nodefs.available": "64Mi"}
    async with running_node(
        data_size="256m", eviction_hard=hard, eviction_pressure_transition_period=1.0, static_pod_path=str(tmp_path)
    ) as node:
        yield node


async def wait_pressure(node: TestedNode, *, pressed: bool) -> None:
    async with asyncio.timeout(60):
        while is_true(await node.client.get(NODES, NAME), "DiskPressure") != pressed:
            await asyncio.sleep(0.1)


async def the_pages_tell_of(node: TestedNode) -> None:
    """What the kubelet's server tells besides pods' streams, of the quiet pod."""
    async with node.session() as session:

        async def page(path: str) -> str:
            async with session.get(path) as answer:
                text: str = await answer.text()
                assert answer.status == 200, (path, text)
                return text

        told = json.loads(await page("/stats/summary"))
        quiet = next(one for one in told["pods"] if one["podRef"]["name"] == "quiet")
        assert quiet["memory"]["workingSetBytes"] >= quiet["containers"][0]["memory"]["workingSetBytes"] > 0
        assert quiet["network"]["name"] == "eth0"
        assert quiet["process_stats"]["process_count"] >= 2
        assert 0 < told["node"]["fs"]["capacityBytes"] <= 256 << 20
        labels = 'container="c",namespace="default",pod="quiet"'
        assert f"container_memory_working_set_bytes{{{labels}}}" in await page("/metrics/resource")
        assert 'kontinuum_pod_overhead_memory_bytes{namespace="default",pod="quiet"' in await page("/metrics/cadvisor")
        assert 'kubelet_evictions{eviction_signal="nodefs.available"} 1' in await page("/metrics")
        await page("/metrics/probes")
        running = json.loads(await page("/runningpods/"))["items"]
        assert "quiet" in [one["metadata"]["name"] for one in running]
        assert json.loads(await page("/configz"))["kubeletconfig"]["evictionHard"] == {"nodefs.available": "64Mi"}
        assert await page("/healthz/syncloop") == "ok"
        assert "<pre>" in await page("/logs/")
        async with session.get("/logs/?query=kubelet&boot=1") as answer:
            assert (answer.status, await answer.text()) == (400, "boot: must be less than 1")


async def test_pods_that_write_too_much_are_evicted_and_the_others_stay(node: TestedNode) -> None:
    described = sh("static", "echo here; sleep 600")
    del described["spec"]["nodeName"]
    file = Path(node.settings.static_pod_path) / "static.json"
    file.write_text(json.dumps(described))
    scratch = {"volumes": [{"name": "s", "emptyDir": {"sizeLimit": "1Mi"}}]}
    mounted = {"volumeMounts": [{"name": "s", "mountPath": "/s"}]}
    limits = {"resources": {"limits": {"ephemeral-storage": "2Mi"}, "requests": {"ephemeral-storage": "1Mi"}}}
    write = "dd if=/dev/zero of={} bs=1M count={}; sleep 600"
    await node.run(sh("quiet", "sleep 600"))
    await node.create(sh("volume", write.format("/s/file", 3), container=mounted, **scratch))
    await node.create(sh("layer", write.format("/file", 5), container=limits))

    def has_failed(pod: Object) -> bool:
        return pod["status"]["phase"] == "Failed"

    message = (await node.wait("volume", has_failed, seconds=60))["status"]["message"]
    assert message == 'Usage of EmptyDir volume "s" exceeds the limit "1Mi". '
    message = (await node.wait("layer", has_failed, seconds=60))["status"]["message"]
    assert message == "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "
    assert not is_true(await node.client.get(NODES, NAME), "DiskPressure")

    open_end = {"volumes": [{"name": "s", "emptyDir": {}}]}
    await node.create(sh("greedy", write.format("/s/file", 240), container=mounted, **open_end))
    await wait_pressure(node, pressed=True)
    status = (await node.wait("greedy", has_failed, seconds=60))["status"]
    assert status["reason"] == "Evicted"
    assert status["message"].startswith("The node was low on resource: ephemeral-storage. Threshold quantity: 64Mi, ")
    assert any(one["reason"] == "TerminationByKubelet" for one in status["conditions"] if "reason" in one)
    # Its files go when it has ended, and with them the pressure.
    await wait_pressure(node, pressed=False)
    assert (await node.get("quiet"))["status"]["phase"] == "Running"
    await the_pages_tell_of(node)
    # The node's own pod stays whatever the node lacks, and ends with its file.
    mirror = await node.wait(f"static-{NAME}", lambda one: one["status"]["phase"] == "Running")
    assert mirror["metadata"]["annotations"]["kubernetes.io/config.source"] == "file"
    assert mirror["status"]["containerStatuses"][0]["restartCount"] == 0
    assert "here" in await node.logs(f"static-{NAME}")
    node.drain()
    quiet = await node.wait("quiet", lambda one: one["status"]["phase"] == "Failed")
    assert quiet["status"]["reason"] == "Terminated"
    async with asyncio.timeout(60):
        while not ((told := progress.read(node.settings.shutdown_file)) and told.over):
            await asyncio.sleep(0.1)
    problems = [one["message"] for one in (await node.client.get(NODES, NAME))["status"]["conditions"]]
    assert "node is shutting down" in problems
    file.unlink()
    await node.wait_gone(f"static-{NAME}")
    assert ("Evicted", status["message"]) in await node.events("greedy")
