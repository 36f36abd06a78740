"""What the API server does for whoever schedules: gates are told of, and a promise ends with the binding."""

from __future__ import annotations

from tests.apiserver.serving import PODS, Api, pod


async def test_a_gated_pod_says_so_from_the_beginning(api: Api) -> None:
    gated = pod("gated", schedulingGates=[{"name": "example.com/wait"}])
    [condition] = (await api.create(PODS, gated)).body["status"]["conditions"]
    assert condition == {
        "type": "PodScheduled",
        "status": "False",
        "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
    }
    binding = {"target": {"kind": "Node", "name": "n1"}}
    refused = await api.create(f"{PODS}/gated/binding", binding)
    assert (refused.code, refused.body["reason"]) == (409, "Conflict")


async def test_a_pod_that_is_bound_waits_for_no_promised_node_any_more(api: Api) -> None:
    await api.create(PODS, pod("web"))
    await api.patch(f"{PODS}/web/status", {"status": {"nominatedNodeName": "n1"}})
    assert (await api.get(f"{PODS}/web")).body["status"]["nominatedNodeName"] == "n1"
    await api.create(f"{PODS}/web/binding", {"target": {"kind": "Node", "name": "n1"}})
    found = (await api.get(f"{PODS}/web")).body
    assert found["spec"]["nodeName"] == "n1"
    assert "nominatedNodeName" not in found["status"]
