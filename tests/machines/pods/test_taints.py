"""What a tainted node does to its pods. These cases taint the only node there is, so they are one case, alone."""

from __future__ import annotations

import asyncio

import pytest
from tests.machines.pods.cases import Cases, World

from kontinuum.api.machinery.objects import Object

CASES = Cases("Taints", is_alone=True)


@CASES.add(
    pytest.mark.behaviour(
        "NoExecuteTaintManager Multiple Pods evicts pods with minTolerationSeconds",
        "NoExecuteTaintManager Single Pod removing taint cancels eviction",
    ),
    classes=("container",),
)
async def a_taint_ends_pods_in_their_time_unless_it_goes_before(world: World) -> None:
    """Longer than the time that one of them tolerates it, and shorter than the other one's."""

    def tolerating(name: str, seconds: int) -> Object:
        toleration = {"key": "evict", "operator": "Equal", "value": "evictTaintVal", "effect": "NoExecute"}
        return world.pod(name=name, tolerations=[{**toleration, "tolerationSeconds": seconds}])

    short, long = tolerating("short", 3), tolerating("long", 600)
    for pod in (short, long):
        await world.running(pod)
    (node,) = (await world.client.list(world.resource("Node"))).items
    name = node["metadata"]["name"]
    await world.kubectl("taint", "node", name, "evict=evictTaintVal:NoExecute")
    try:
        await world.gone("Pod", short["metadata"]["name"])
        assert "deletionTimestamp" not in (await world.get("Pod", long["metadata"]["name"]))["metadata"]
    finally:
        await world.kubectl("taint", "node", name, "evict=evictTaintVal:NoExecute-")

    # Once more: now the taint is taken away before the time of the one that tolerates it for a while.
    other = tolerating("other", 10)
    await world.running(other)
    await world.kubectl("taint", "node", name, "evict=evictTaintVal:NoExecute")
    await asyncio.sleep(2)
    await world.kubectl("taint", "node", name, "evict=evictTaintVal:NoExecute-")
    await asyncio.sleep(12)
    assert "deletionTimestamp" not in (await world.get("Pod", other["metadata"]["name"]))["metadata"]
    for pod in (long, other):
        await world.delete("Pod", pod["metadata"]["name"])


test_taints = CASES.test()
