"""Evictions spend the budgets of pods, never more than is there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.apiserver.serving import PODS, Answer, Api, Certificates, pod, serving

from kontinuum.store.memory.store import MemoryStore

BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"


async def running(api: Api, name: str, *, ready: bool = True) -> None:
    await api.create(PODS, {**pod(name, nodeName="n"), "metadata": {"name": name, "labels": {"app": "web"}}})
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    done = await api.patch(f"{PODS}/{name}/status", {"status": {"phase": "Running", "conditions": conditions}})
    assert done.code == 200, done.body


async def budget(api: Api, allowed: int, *, name: str = "few", observed: int = 1, **spec: Any) -> None:
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}, **spec}
    await api.create(BUDGETS, {"metadata": {"name": name}, "spec": spec})
    status = {
        "disruptionsAllowed": allowed, "currentHealthy": 1 + allowed, "desiredHealthy": 1, "expectedPods": 3,
        "observedGeneration": observed,
    }  # fmt: skip
    done = await api.patch(f"{BUDGETS}/{name}/status", {"status": status})
    assert done.code == 200, done.body


async def evict(api: Api, name: str, **more: Any) -> Answer:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, **more}
    return await api.create(f"{PODS}/{name}/eviction", body)


async def test_a_budget_is_spent_and_then_refuses_in_kubernetes_words(api: Api) -> None:
    for name in ("a", "b"):
        await running(api, name)
    await budget(api, 1)
    assert (await evict(api, "a")).code == 201
    found = (await api.get(f"{BUDGETS}/few")).body["status"]
    assert found["disruptionsAllowed"] == 0 and list(found["disruptedPods"]) == ["a"]
    assert (found["conditions"][0]["type"], found["conditions"][0]["reason"]) == (
        "DisruptionAllowed", "InsufficientPods",
    )  # fmt: skip
    refused = await evict(api, "b")
    assert (refused.code, refused.body["reason"]) == (429, "TooManyRequests")
    assert refused.body["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
    [cause] = refused.body["details"]["causes"]
    assert cause["reason"] == "DisruptionBudget"
    assert cause["message"] == "The disruption budget few needs 1 healthy pods and has 2 currently"
    assert "deletionTimestamp" not in (await api.get(f"{PODS}/b")).body["metadata"]


async def test_a_pod_that_is_evicted_says_so_from_the_moment_it_begins_to_end(api: Api) -> None:
    await running(api, "a")
    assert (await evict(api, "a")).code == 201
    found = (await api.get(f"{PODS}/a")).body
    assert "deletionTimestamp" in found["metadata"]
    (condition,) = [one for one in found["status"]["conditions"] if one["type"] == "DisruptionTarget"]
    assert (condition["status"], condition["reason"], condition["message"]) == (
        "True", "EvictionByEvictionAPI", "Eviction API: evicting",
    )  # fmt: skip
    assert condition["observedGeneration"] == 1


async def test_many_at_once_get_no_more_than_there_is_from_two_servers_either(certificates: Certificates) -> None:
    store = MemoryStore()
    async with serving(store, certificates) as api, serving(store, certificates) as other:
        for number in range(12):
            await running(api, f"p{number}")
        await budget(api, 5)
        servers = [api, other]
        answers = await asyncio.gather(*(evict(servers[number % 2], f"p{number}") for number in range(12)))
        assert sorted(answer.code for answer in answers) == [201] * 5 + [429] * 7
        assert (await api.get(f"{BUDGETS}/few")).body["status"]["disruptionsAllowed"] == 0


async def test_a_budget_that_was_changed_is_not_spent_before_it_is_counted(api: Api) -> None:
    await running(api, "a")
    await budget(api, 5, observed=0)
    refused = await evict(api, "a")
    assert refused.code == 429 and refused.headers["Retry-After"] == "10"
    assert refused.body["details"]["causes"][0]["message"] == (
        "The disruption budget few is still being processed by the server."
    )


async def test_two_budgets_for_one_pod_are_an_error(api: Api) -> None:
    await running(api, "a")
    await budget(api, 1)
    await budget(api, 1, name="more")
    refused = await evict(api, "a")
    assert refused.code == 500
    assert refused.body["message"] == (
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    )


async def test_a_dry_run_spends_nothing(api: Api) -> None:
    await running(api, "a")
    await budget(api, 1)
    assert (await evict(api, "a", deleteOptions={"dryRun": ["All"]})).code == 201
    assert (await api.get(f"{BUDGETS}/few")).body["status"]["disruptionsAllowed"] == 1


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Pending"])
async def test_pods_that_do_not_run_go_freely(api: Api, phase: str) -> None:
    await running(api, "a")
    await api.patch(f"{PODS}/a/status", {"status": {"phase": phase}})
    await budget(api, 0)
    assert (await evict(api, "a")).code == 201


@pytest.mark.parametrize(("policy", "healthy", "code"), [
    ("IfHealthyBudget", 1, 201), ("IfHealthyBudget", 0, 429), ("AlwaysAllow", 0, 201),
])  # fmt: skip
async def test_a_pod_that_is_not_ready_may_cost_nothing(api: Api, policy: str, healthy: int, code: int) -> None:
    await running(api, "a", ready=False)
    await budget(api, 0, unhealthyPodEvictionPolicy=policy)
    await api.patch(f"{BUDGETS}/few/status", {"status": {"currentHealthy": healthy}})
    assert (await evict(api, "a")).code == code
