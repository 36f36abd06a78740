"""Autoscalers at work, in virtual time; what they measure comes over HTTP from a source that the test is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.controllers.cluster import Cluster, deployment, running, scenario
from tests.controllers.source import Source

from kontinuum.api.kubernetes.resources import DEPLOYMENTS, EVENTS, HORIZONTALPODAUTOSCALERS, SERVICES
from kontinuum.api.machinery.conditions import get_condition
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import internal_error
from kontinuum.client.transport.fake import Faults
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation import virtual_time

CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
WARM_UP = 330.0
"""Seconds after which a pod's CPU counts, whatever else."""


def web(replicas: int = 3, name: str = "web") -> Object:
    made = deployment(name, replicas=replicas)
    made["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1"}}
    return made


def autoscaler(*metrics: Object, name: str = "web", low: int = 1, high: int = 10, **more: Any) -> Object:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    spec = {"scaleTargetRef": target, "minReplicas": low, "maxReplicas": high, "metrics": list(metrics) or [CPU]}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec | more}


def status(cluster: Cluster, name: str = "web") -> Object:
    found = cluster.api.storage.get(HORIZONTALPODAUTOSCALERS, f"default/{name}")
    assert found is not None
    return dict(found["status"])


def condition(cluster: Cluster, kind: str, name: str = "web") -> tuple[str, str, str]:
    found = get_condition({"status": status(cluster, name)}, kind)
    assert found is not None
    return found["status"], found["reason"], found.get("message", "")


def told(cluster: Cluster, about: str = "HorizontalPodAutoscaler") -> list[tuple[str, str]]:
    events = [one for one in cluster.everything(EVENTS) if one["involvedObject"]["kind"] == about]
    return [(one["reason"], one["message"]) for one in events]


def rescales(cluster: Cluster) -> list[str]:
    return [message for reason, message in told(cluster) if reason == "SuccessfulRescale"]


def replicas(cluster: Cluster) -> int:
    return int(cluster.deployment()["spec"]["replicas"])


def test_a_target_that_is_busy_grows_and_one_that_is_idle_shrinks_after_five_minutes() -> None:
    async def main(cluster: Cluster) -> None:
        source = Source(cluster)
        await cluster.client.create(DEPLOYMENTS, web())
        await cluster.client.create(HORIZONTALPODAUTOSCALERS, autoscaler())
        await cluster.settle(WARM_UP)
        assert (replicas(cluster), rescales(cluster)) == (3, [])
        assert condition(cluster, "AbleToScale") == (
            "True",
            "ReadyForNewScale",
            "recommended size matches current size",
        )
        assert condition(cluster, "ScalingActive") == (
            "True", "ValidMetricFound",
            "the HPA was able to successfully calculate a replica count from cpu resource utilization "
            "(percentage of request)",
        )  # fmt: skip
        assert condition(cluster, "ScalingLimited")[:2] == ("False", "DesiredWithinRange")
        current = {"averageUtilization": 50, "averageValue": "500m"}
        assert status(cluster)["currentMetrics"] == [
            {"type": "Resource", "resource": {"name": "cpu", "current": current}}
        ]
        assert (status(cluster)["currentReplicas"], status(cluster)["observedGeneration"]) == (3, 1)

        source.cpu = lambda pod: 3000 // len(cluster.ready_pods())
        await cluster.settle(WARM_UP + 60)
        assert (replicas(cluster), len(cluster.ready_pods())) == (6, 6)
        size = "New size: 6; reason: cpu resource utilization (percentage of request) above target"
        assert rescales(cluster) == [size]
        assert status(cluster)["desiredReplicas"] == 6
        assert "lastScaleTime" in status(cluster)

        source.cpu = lambda pod: 100
        await cluster.settle(240)
        assert condition(cluster, "AbleToScale")[:2] == ("True", "ScaleDownStabilized")
        assert replicas(cluster) == 6
        await cluster.settle(120)
        assert "New size: 2; reason: All metrics below target" in rescales(cluster)
        assert replicas(cluster) < 3

    scenario(main)


def test_who_has_no_metrics_says_so_and_touches_nothing() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, web())
        await cluster.client.create(HORIZONTALPODAUTOSCALERS, autoscaler())
        await cluster.settle(60)
        value, reason, message = condition(cluster, "ScalingActive")
        assert (value, reason) == ("False", "FailedGetResourceMetric")
        inner = "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from "
        inner += "resource metrics API: "
        assert message.startswith(f"the HPA was unable to compute the replica count: {inner}")
        assert any(one == "FailedGetResourceMetric" and text.startswith(inner) for one, text in told(cluster))
        outer = "invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: "
        assert any(one == "FailedComputeMetricsReplicas" and text.startswith(outer) for one, text in told(cluster))
        assert replicas(cluster) == 3

    scenario(main)


def test_bounds_are_kept_without_metrics_too() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, web(12))
        await cluster.client.create(HORIZONTALPODAUTOSCALERS, autoscaler())
        await cluster.settle(30)
        assert replicas(cluster) == 10
        # Others write the target's status meanwhile; a conflict is told, and tried again at the next look.
        assert rescales(cluster) == ["New size: 10; reason: Current number of replicas above Spec.MaxReplicas"]
        wider = {"spec": {"minReplicas": 11, "maxReplicas": 15}}
        await cluster.client.patch(HORIZONTALPODAUTOSCALERS, "web", wider, namespace="default")
        await cluster.settle(30)
        assert replicas(cluster) == 11
        await cluster.patch({"replicas": 0})
        await cluster.settle(30)
        assert replicas(cluster) == 0
        disabled = "scaling is disabled since the replica count of the target is zero"
        assert condition(cluster, "ScalingActive") == ("False", "ScalingDisabled", disabled)

    scenario(main)


def test_growth_ends_at_the_limit_and_says_so() -> None:
    async def main(cluster: Cluster) -> None:
        source = Source(cluster)
        source.cpu = lambda pod: 1000
        await cluster.client.create(DEPLOYMENTS, web())
        await cluster.client.create(HORIZONTALPODAUTOSCALERS, autoscaler(high=5))
        await cluster.settle(60)
        assert replicas(cluster) == 5
        assert condition(cluster, "ScalingLimited")[:2] == ("True", "TooManyReplicas")

    scenario(main)


def test_two_autoscalers_of_the_same_pods_do_nothing() -> None:
    async def main(cluster: Cluster) -> None:
        Source(cluster).cpu = lambda pod: 1000
        await cluster.client.create(HORIZONTALPODAUTOSCALERS, autoscaler())
        await cluster.client.create(HORIZONTALPODAUTOSCALERS, autoscaler(name="other"))
        await cluster.client.create(DEPLOYMENTS, web())
        await cluster.settle(60)
        problem = "pods by selector app=web are controlled by multiple HPAs: [default/other default/web]"
        assert condition(cluster, "ScalingActive") == ("False", "AmbiguousSelector", problem)
        assert ("AmbiguousSelector", problem) in told(cluster)
        before = replicas(cluster)
        await cluster.client.delete(HORIZONTALPODAUTOSCALERS, "other", namespace="default")
        await cluster.settle(60)
        assert condition(cluster, "ScalingActive")[1] == "ValidMetricFound"
        assert replicas(cluster) > before

    scenario(main)


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ({"apiVersion": "apps/v1", "kind": "Deployment", "name": "gone"}, 'deployments.apps "gone" not found'),
        ({"apiVersion": "x.dev/v1", "kind": "Thing", "name": "web"}, 'no matches for kind "Thing" in group "x.dev"'),
    ],
)
def test_a_target_that_cannot_be_had_is_told(reference: Object, problem: str) -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(HORIZONTALPODAUTOSCALERS, autoscaler(scaleTargetRef=reference))
        await cluster.settle(30)
        text = f"the HPA controller was unable to get the target's current scale: {problem}"
        assert condition(cluster, "AbleToScale") == ("False", "FailedGetScale", text)
        assert ("FailedGetScale", problem) in told(cluster)

    scenario(main)


def test_any_kind_with_a_scale_can_be_the_target() -> None:
    async def main(cluster: Cluster) -> None:
        widgets = Resource("x.dev", "v1", "Widget", "widgets", namespaced=True, subresources=("scale", "status"))
        cluster.api.resources = (*cluster.api.resources, widgets)
        made = {"metadata": {"name": "w", "namespace": "default"}, "spec": {"replicas": 9, "selector": {}}}
        await cluster.client.create(widgets, made)
        reference = {"apiVersion": "x.dev/v0", "kind": "Widget", "name": "w"}
        await cluster.client.create(HORIZONTALPODAUTOSCALERS, autoscaler(high=7, scaleTargetRef=reference))
        await cluster.settle(30)
        assert (await cluster.client.get(widgets, "w", namespace="default"))["spec"]["replicas"] == 7

    scenario(main)


BUSY = {"matchLabels": {"verb": "GET"}}
CUSTOM = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default"
QUEUE = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/queue"
FIELDS = {"Pods": "pods", "Object": "object", "External": "external", "ContainerResource": "containerResource"}


def metric(kind: str, target: tuple[str, str, Any], **about: Any) -> Object:
    sort, field, value = target
    return {"type": kind, FIELDS.get(kind, "resource"): {"target": {"type": sort, field: value}, **about}}


def value(amount: str) -> tuple[str, str, str]:
    return "Value", "value", amount


def average(amount: str) -> tuple[str, str, str]:
    return "AverageValue", "averageValue", amount


SERVICE = {"apiVersion": "v1", "kind": "Service", "name": "web"}
OF_SERVICE = metric("Object", value("100"), metric={"name": "hits"}, describedObject=SERVICE)
OF_QUEUE = metric("External", average("10"), metric={"name": "queue", "selector": BUSY})
DEPLOYED = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
OTHER_METRICS = [
    (
        metric("Pods", average("10"), metric={"name": "hits", "selector": BUSY}),
        f"{CUSTOM}/pods/*/hits", "20", 6, {"averageValue": "20"}, "pods metric hits",
        {"labelSelector": "app=web", "metricLabelSelector": "verb=GET"},
    ),
    (OF_SERVICE, f"{CUSTOM}/services/web/hits", "150", 5, {"value": "150"}, "Service metric hits", {}),
    (
        metric("Object", average("100"), metric={"name": "hits"}, describedObject=DEPLOYED),
        f"{CUSTOM}/deployments.apps/web/hits", "500", 5, {"averageValue": "166667m"}, "external metric hits(nil)", {},
    ),
    (
        OF_QUEUE, QUEUE, "40", 4, {"averageValue": "13334m"},
        "external metric queue(&LabelSelector{MatchLabels:map[string]string{verb: GET,},"
        "MatchExpressions:[]LabelSelectorRequirement{},})", {"labelSelector": "verb=GET"},
    ),
    (
        metric("External", value("10"), metric={"name": "queue"}),
        QUEUE, "20", 6, {"value": "20"}, "external metric queue(nil)", {},
    ),
    (
        metric("ContainerResource", ("Utilization", "averageUtilization", 25), name="cpu", container="main"),
        "", "", 6, {"averageUtilization": 50, "averageValue": "500m"},
        "cpu container resource utilization (percentage of request)", {"labelSelector": "app=web"},
    ),
    (
        metric("Resource", average("5Mi"), name="memory"),
        "", "", 6, {"averageValue": "10485760"}, "memory resource", {"labelSelector": "app=web"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("about", "path", "amount", "wanted", "current", "name", "query"), OTHER_METRICS, ids=range(len(OTHER_METRICS))
)
def test_every_sort_of_metric(
    about: Object, path: str, amount: str, wanted: int, current: Object, name: str, query: dict[str, str]
) -> None:
    async def main(cluster: Cluster) -> None:
        source = Source(cluster)
        await cluster.client.create(DEPLOYMENTS, web())
        await cluster.settle(WARM_UP)
        pods = [{"describedObject": {"kind": "Pod", "name": name_of(pod)}, "value": amount} for pod in cluster.pods()]
        source.values[path] = pods if "pods/*" in path else [{"value": amount}]
        await cluster.client.create(HORIZONTALPODAUTOSCALERS, autoscaler(about))
        await cluster.settle(5)
        assert replicas(cluster) == wanted, told(cluster)
        assert rescales(cluster) == [f"New size: {wanted}; reason: {name} above target"]
        shown = next(iter(value for key, value in status(cluster)["currentMetrics"][0].items() if key != "type"))
        assert shown["current"] == current
        assert source.asked[0][1] == query

    scenario(main)


def test_an_adapter_that_serves_the_older_version_is_understood() -> None:
    async def main(cluster: Cluster) -> None:
        source = Source(cluster)
        await cluster.client.create(SERVICES, {"metadata": {"name": "web", "namespace": "default"}, "spec": {}})
        await cluster.client.create(DEPLOYMENTS, web())
        await cluster.settle(30)
        source.values["/apis/custom.metrics.k8s.io/v1beta1/namespaces/default/services/web/hits"] = [{"value": "200"}]
        await cluster.client.create(HORIZONTALPODAUTOSCALERS, autoscaler(OF_SERVICE))
        await cluster.settle(5)
        assert replicas(cluster) == 6

    scenario(main)


def test_with_one_metric_unknown_it_may_grow_but_not_shrink() -> None:
    async def main(cluster: Cluster) -> None:
        source = Source(cluster)
        await cluster.client.create(DEPLOYMENTS, web())
        await cluster.client.create(HORIZONTALPODAUTOSCALERS, autoscaler(CPU, OF_QUEUE))
        source.cpu = lambda pod: 100
        await cluster.settle(2 * WARM_UP)
        assert (replicas(cluster), condition(cluster, "ScalingActive")[1]) == (3, "FailedGetExternalMetric")
        source.cpu = lambda pod: 1000
        await cluster.settle(20)
        assert replicas(cluster) == 6

    scenario(main)


def test_a_settled_autoscaler_writes_nothing() -> None:
    async def main(cluster: Cluster) -> None:
        Source(cluster)
        await cluster.client.create(DEPLOYMENTS, web())
        await cluster.client.create(HORIZONTALPODAUTOSCALERS, autoscaler())
        await cluster.settle(WARM_UP)
        before = len(cluster.faults.writes)
        await cluster.settle(600)
        assert len(cluster.faults.writes) == before

    scenario(main)


Life = tuple[int, int, str]


def life(prepare: Callable[[Cluster], None]) -> tuple[Life, list[int]]:
    """Replicas, as told in the status, and why, of an autoscaler's first minute; and the numbers of its writes."""

    async def main() -> tuple[Life, list[int]]:
        async with running(ControllersSettings(autoscaling_cpu_initialization_seconds=0)) as cluster:
            source = Source(cluster)
            await cluster.client.create(DEPLOYMENTS, web())
            await cluster.settle(20)
            prepare(cluster)
            source.cpu = lambda pod: 3000 // len(cluster.ready_pods())
            await cluster.client.create(HORIZONTALPODAUTOSCALERS, autoscaler(high=7))
            await asyncio.sleep(60)
            found = (replicas(cluster), status(cluster)["currentReplicas"], condition(cluster, "ScalingActive")[1])
            writes = [
                number for number, one in enumerate(cluster.faults.writes, 1)
                if one.path.endswith("/scale") or "/horizontalpodautoscalers/" in one.path
            ]  # fmt: skip
            return found, writes

    return virtual_time.run(main)


def test_killed_at_any_write_or_with_any_answer_lost_the_end_is_the_same() -> None:
    expected, writes = life(lambda cluster: None)
    assert expected == (6, 6, "ValidMetricFound")
    assert len(writes) >= 3
    for number in writes:

        def kill(cluster: Cluster, number: int = number) -> None:
            faults: Faults = cluster.faults
            faults.after_write = lambda written, request: cluster.replace_controllers() if written == number else None

        def lose(cluster: Cluster, number: int = number) -> None:
            cluster.faults.lost.add(number)

        def refuse(cluster: Cluster, number: int = number) -> None:
            cluster.faults.errors[number] = internal_error("refused")

        for prepare in (kill, lose, refuse):
            assert life(prepare)[0] == expected, (number, prepare.__name__)
