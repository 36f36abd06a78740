"""Budgets say how many of their pods may go, and follow them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.controllers.cluster import Cluster, deployment, scenario

from kontinuum.api.kubernetes.resources import DEPLOYMENTS, EVENTS, PODDISRUPTIONBUDGETS, PODS
from kontinuum.api.machinery.conditions import get_condition, set_condition
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.controllers.reconcilers.disruption import expectation
from kontinuum.foundation.clock import rfc3339


def budget(**spec: Any) -> Object:
    spec = {"selector": {"matchLabels": {"app": "web"}}, **spec}
    return {"metadata": {"name": "few", "namespace": "default"}, "spec": spec}


def status(cluster: Cluster) -> Object:
    found = cluster.api.storage.get(PODDISRUPTIONBUDGETS, "default/few")
    assert found is not None
    return found["status"]  # type: ignore[no-any-return]


def test_a_disruption_that_does_not_come_is_taken_back_after_two_minutes() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment(replicas=3))
        await cluster.settle(30)
        told, by_node, gone = sorted(name_of(pod) for pod in cluster.pods())
        for name, reason in ((told, "EvictionByEvictionAPI"), (by_node, "TerminationByKubelet")):
            [pod] = [one for one in cluster.pods() if name_of(one) == name]
            now = rfc3339(cluster.clock.time())
            conditions = set_condition(pod["status"]["conditions"], "DisruptionTarget", True, now=now, reason=reason)
            patch = {"status": {"conditions": conditions}}
            await cluster.client.patch(PODS, name, patch, namespace="default", subresource="status")

        def target(name: str) -> str | None:
            [pod] = [one for one in cluster.pods() if name_of(one) == name]
            found = get_condition(pod, "DisruptionTarget")
            return None if found is None else str(found["status"])

        await cluster.settle(110)
        assert [target(one) for one in (told, by_node, gone)] == ["True", "True", None]
        await cluster.settle(20)
        assert [target(one) for one in (told, by_node, gone)] == ["False", "True", None]

    scenario(main)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"minAvailable": 2}, (3, 2)),
        ({"minAvailable": "50%"}, (5, 3)),
        ({"maxUnavailable": 1}, (5, 4)),
        ({"maxUnavailable": "30%"}, (5, 3)),
        ({"maxUnavailable": 9}, (5, 0)),
    ],
)
def test_numbers_are_of_pods_and_shares_of_what_their_controllers_want(spec: Object, expected: tuple[int, int]) -> None:
    reference = {"kind": "ReplicaSet", "name": "web", "uid": "u", "controller": True}
    pods = [{"metadata": {"name": str(number), "ownerReferences": [reference]}} for number in range(3)]
    found = expectation(budget(**spec), pods, lambda pod: 5)
    assert (found.expected, found.desired) == expected


@pytest.mark.behaviour("DisruptionController should observe PodDisruptionBudget status updated")
def test_a_budget_follows_its_pods() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(PODDISRUPTIONBUDGETS, budget(minAvailable=2))
        await cluster.settle(5)
        assert status(cluster)["disruptionsAllowed"] == 0 and status(cluster)["expectedPods"] == 0
        await cluster.client.create(DEPLOYMENTS, deployment(replicas=3))
        await cluster.settle(20)
        found = status(cluster)
        assert {key: found[key] for key in found if key not in ("conditions", "observedGeneration")} == {
            "currentHealthy": 3, "desiredHealthy": 2, "expectedPods": 3, "disruptionsAllowed": 1,
        }  # fmt: skip
        [condition] = found["conditions"]
        assert (condition["type"], condition["status"], condition["reason"]) == (
            "DisruptionAllowed", "True", "SufficientPods",
        )  # fmt: skip
        await cluster.patch({"replicas": 2})
        await cluster.settle(20)
        assert status(cluster)["disruptionsAllowed"] == 0
        assert status(cluster)["conditions"][0]["reason"] == "InsufficientPods"

    scenario(main)


def test_a_granted_pod_counts_as_gone_until_it_is_or_until_patience_ends() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(PODDISRUPTIONBUDGETS, budget(maxUnavailable=1))
        await cluster.client.create(DEPLOYMENTS, deployment(replicas=3))
        await cluster.settle(20)
        pod = name_of(cluster.pods()[0])
        granted = {"status": {"disruptedPods": {pod: rfc3339(cluster.clock.time())}}}
        await cluster.client.patch(PODDISRUPTIONBUDGETS, "few", granted, namespace="default", subresource="status")
        await cluster.settle(10)
        assert (status(cluster)["currentHealthy"], status(cluster)["disruptionsAllowed"]) == (2, 0)
        await cluster.settle(130)
        assert (status(cluster)["currentHealthy"], status(cluster)["disruptionsAllowed"]) == (3, 1)
        assert "disruptedPods" not in status(cluster)
        assert "NotDeleted" in {one["reason"] for one in cluster.everything(EVENTS)}

    scenario(main)


def test_pods_without_a_controller_cannot_be_counted_by_share() -> None:
    async def main(cluster: Cluster) -> None:
        alone = {"metadata": {"name": "alone", "namespace": "default", "labels": {"app": "web"}}}
        await cluster.client.create(PODS, {**alone, "spec": {"containers": [{"name": "c", "image": "i"}]}})
        await cluster.client.create(PODDISRUPTIONBUDGETS, budget(maxUnavailable=1))
        await cluster.settle(10)
        [condition] = status(cluster)["conditions"]
        assert condition["reason"] == "SyncFailed"
        assert condition["message"] == 'found no controller ref for pod "alone"'

    scenario(main)
