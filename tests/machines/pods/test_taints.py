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
    names = [one["metadata"]["name"] for one in (long, other)]
    await a_drain_waits_for_the_budget_of_its_pods(world, node, names)


async def a_drain_waits_for_the_budget_of_its_pods(world: World, node: Object, pods: list[str]) -> None:
    """Whoever drains a node does not get past a PodDisruptionBudget; then all is gone that runs there."""
    name, label = node["metadata"]["name"], "drained=yes"
    await world.kubectl("label", "pod", *pods, label)
    budget = {"minAvailable": len(pods), "selector": {"matchLabels": {"drained": "yes"}}}
    await world.create("PodDisruptionBudget", world.name(), spec=budget)
    drain = ("drain", name, "--force", f"--pod-selector={label}", "--grace-period=1")
    try:
        # However often it asks within its time: all of them must stay.
        code, _, said = await world.kubectl(*drain, "--timeout=2s", check=False)
        assert code != 0 and "disruption budget" in said
        for pod in pods:
            assert "deletionTimestamp" not in (await world.get("Pod", pod))["metadata"]
        found = await world.client.get(world.resource("Node"), name)
        assert found["spec"]["unschedulable"] is True
        await world.kubectl("delete", "poddisruptionbudget", world.name())
        await world.kubectl(*drain, "--timeout=60s")
        for pod in pods:
            await world.gone("Pod", pod)
    finally:
        await world.kubectl("uncordon", name)


test_taints = CASES.test()
