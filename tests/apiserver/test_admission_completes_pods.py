"""What admission makes of pods: their account, priority, and the rules of their RuntimeClass."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.policies import mutating, put_in_force
from tests.apiserver.serving import PODS, Api, pod

CLASSES = "/apis/node.k8s.io/v1/runtimeclasses"


def runtime_class(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "handler": name, **more}


async def test_a_pod_runs_as_the_default_account_with_priority_zero(api: Api) -> None:
    spec = (await api.create(PODS, pod("p"))).body["spec"]
    assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"
    assert spec["priority"] == 0 and spec["preemptionPolicy"] == "PreemptLowerPriority"


async def test_a_pod_of_an_unknown_class_is_forbidden_in_kubernetes_words(api: Api) -> None:
    refused = await api.create(PODS, pod("p", runtimeClassName="microvm"))
    assert (refused.code, refused.body["reason"]) == (403, "Forbidden")
    assert refused.body["message"] == 'pods "p" is forbidden: pod rejected: RuntimeClass "microvm" not found'


async def test_a_class_that_was_created_just_now_is_found(api: Api) -> None:
    for number in range(10):
        await api.create(CLASSES, runtime_class(f"class-{number}"))
        assert (await api.create(PODS, pod(f"p{number}", runtimeClassName=f"class-{number}"))).code == 201


async def test_a_classs_overhead_and_scheduling_become_the_pods(api: Api) -> None:
    toleration = {"key": "kontinuum.dev/vm", "operator": "Exists"}
    scheduling = {"nodeSelector": {"kontinuum.dev/class.microvm": "true"}, "tolerations": [toleration]}
    overhead = {"podFixed": {"memory": "64Mi"}}
    made = await api.create(CLASSES, runtime_class("microvm", overhead=overhead, scheduling=scheduling))
    assert made.code == 201, made.body
    created = await api.create(PODS, pod("p", runtimeClassName="microvm", nodeSelector={"disk": "ssd"}))
    spec = created.body["spec"]
    assert spec["overhead"] == {"memory": "64Mi"}
    assert spec["nodeSelector"] == {"disk": "ssd", "kontinuum.dev/class.microvm": "true"}
    assert any(one["key"] == "kontinuum.dev/vm" for one in spec["tolerations"])


async def test_a_pod_that_contradicts_its_class_is_forbidden(api: Api) -> None:
    scheduling = {"nodeSelector": {"zone": "a"}}
    await api.create(CLASSES, runtime_class("c", overhead={"podFixed": {"cpu": "1"}}, scheduling=scheduling))
    elsewhere = await api.create(PODS, pod("p", runtimeClassName="c", nodeSelector={"zone": "b"}))
    assert elsewhere.code == 403 and "conflict" in elsewhere.body["message"]
    lighter = await api.create(PODS, pod("p", runtimeClassName="c", overhead={"cpu": "1m"}))
    assert lighter.code == 403 and "Overhead" in lighter.body["message"]
    unreadable = await api.create(PODS, pod("p", runtimeClassName="c", overhead={"cpu": "much"}))
    assert unreadable.code in (400, 422), unreadable.body


async def test_the_same_overhead_may_be_written_otherwise(api: Api) -> None:
    await api.create(CLASSES, runtime_class("c", overhead={"podFixed": {"cpu": "20m", "memory": "128Mi"}}))
    made = await api.create(PODS, pod("p", runtimeClassName="c", overhead={"memory": "131072Ki", "cpu": "0.02"}))
    assert made.code == 201, made.body
    assert made.body["spec"]["overhead"] == {"cpu": "20m", "memory": "128Mi"}


RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
CLASSLESS = [{"name": "classless", "expression": "!has(object.spec.runtimeClassName)"}]


async def test_a_class_that_a_policy_gives_comes_with_all_that_belongs_to_it(api: Api) -> None:
    selector = {"kontinuum.dev/class.microvm": "true"}
    belongs = {"overhead": {"podFixed": {"cpu": "20m"}}, "scheduling": {"nodeSelector": selector}}
    await api.create(CLASSES, runtime_class("microvm", **belongs))
    await api.create(CLASSES, runtime_class("container"))
    default = 'Object{spec: Object.spec{runtimeClassName: "microvm"}}'
    await put_in_force(api, mutating("default", default, match=RULE, matchConditions=CLASSLESS))
    spec = (await api.create(PODS, pod("classless"))).body["spec"]
    assert (spec["runtimeClassName"], spec["overhead"], spec["nodeSelector"]) == ("microvm", {"cpu": "20m"}, selector)
    chosen = (await api.create(PODS, pod("chosen", runtimeClassName="container"))).body["spec"]
    assert chosen["runtimeClassName"] == "container" and "overhead" not in chosen


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"priorityClassName": "system-node-critical"}, 2_000_001_000),
        ({"priorityClassName": "unknown"}, None),
        ({"priority": 7}, None),
    ],
)
async def test_priority_comes_from_a_known_class_only(api: Api, spec: dict[str, Any], expected: int | None) -> None:
    answer = await api.create(PODS, pod("p", **spec))
    assert answer.code == (403 if expected is None else 201)
    if expected is not None:
        assert answer.body["spec"]["priority"] == expected
