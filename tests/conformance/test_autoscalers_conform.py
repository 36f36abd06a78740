"""Autoscalers on a real server, whose controllers have no more rights than they need."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from kubernetes.dynamic import DynamicClient
from tests.conformance.hollow import HollowNode
from tests.conformance.objects import Objects, wait_until, workload

from kontinuum.api.machinery.conditions import get_condition

Find = Callable[[str, str], Objects]


@pytest.fixture
def find(dynamic: DynamicClient, namespace: str) -> Find:
    return lambda version, kind: Objects(dynamic, version, kind, namespace)


def test_a_target_is_brought_within_bounds_and_what_is_not_measured_is_told(find: Find, hollow: HollowNode) -> None:
    deployments, autoscalers = find("apps/v1", "Deployment"), find("autoscaling/v2", "HorizontalPodAutoscaler")
    deployments.create(workload("Deployment", replicas=4))
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    spec = {"scaleTargetRef": reference, "minReplicas": 1, "maxReplicas": 2}
    autoscalers.create({"metadata": {"name": "web"}, "spec": spec})
    wait_until(lambda: deployments.get("web")["spec"]["replicas"] == 2)
    wait_until(lambda: (autoscalers.get("web").get("status") or {}).get("desiredReplicas") == 2)
    able = get_condition(autoscalers.get("web"), "AbleToScale")
    assert able is not None and (able["status"], able["reason"]) == ("True", "SucceededRescale")
    wait_until(lambda: deployments.is_ready("web", 2))
    autoscalers.patch("web", {"spec": {"maxReplicas": 3}})
    wait_until(lambda: get_condition(autoscalers.get("web"), "ScalingActive") is not None)
    active = get_condition(autoscalers.get("web"), "ScalingActive")
    assert active is not None and active["reason"] == "FailedGetResourceMetric"
    assert "no metrics returned from resource metrics API" in active["message"]
