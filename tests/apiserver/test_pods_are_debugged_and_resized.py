"""What may be changed of a pod that is there: ephemeral containers are added, resources change, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.serving import PODS, Answer, Api

QUOTAS = "/api/v1/namespaces/default/resourcequotas"


def pod(**resources: Any) -> dict[str, Any]:
    containers = [{"name": "main", "image": "i:1", "resources": resources}]
    return {"metadata": {"name": "p"}, "spec": {"containers": containers}}


def debugger(name: str = "debug", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox", **more}


def resize(**resources: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "main", "resources": resources}]}}


def problems(answer: Answer) -> str:
    assert (answer.code, answer.body["reason"]) == (422, "Invalid"), answer.body
    return str(answer.body["message"]).partition(" is invalid: ")[2]


async def test_an_ephemeral_container_is_added_and_stays(api: Api) -> None:
    made = (await api.create(PODS, pod())).body
    path = f"{PODS}/p/ephemeralcontainers"
    added = {"spec": {"ephemeralContainers": [debugger(targetContainerName="main")]}}
    answer = await api.patch(path, added, "strategic")
    assert answer.code == 200, answer.body
    (container,) = answer.body["spec"]["ephemeralContainers"]
    assert container["imagePullPolicy"] == "Always" and container["targetContainerName"] == "main"
    assert answer.body["metadata"]["generation"] == made["metadata"]["generation"] + 1
    second = {"spec": {"ephemeralContainers": [debugger("other")]}}
    answer = await api.patch(path, second, "strategic")
    assert {one["name"] for one in answer.body["spec"]["ephemeralContainers"]} == {"debug", "other"}
    gone = await api.patch(path, {"spec": {"ephemeralContainers": []}})
    assert 'existing ephemeral containers "debug" may not be removed' in problems(gone)
    changed = await api.patch(path, {"spec": {"ephemeralContainers": [debugger(image="x"), debugger("other")]}})
    assert 'existing ephemeral containers "debug" may not be changed' in problems(changed)


async def test_nothing_else_changes_with_an_ephemeral_container(api: Api) -> None:
    made = (await api.create(PODS, pod())).body
    made["metadata"]["labels"] = {"a": "b"}
    made["spec"]["containers"][0]["image"] = "other"
    made["spec"]["ephemeralContainers"] = [debugger()]
    answer = await api.update(f"{PODS}/p/ephemeralcontainers", made)
    assert answer.code == 200, answer.body
    assert answer.body["spec"]["containers"][0]["image"] == "i:1" and "labels" not in answer.body["metadata"]
    assert (await api.get(f"{PODS}/p/ephemeralcontainers")).body["spec"] == answer.body["spec"]


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        (debugger("main"), 'spec.ephemeralContainers[0].name: Duplicate value: "main"'),
        (debugger(targetContainerName="x"), 'spec.ephemeralContainers[0].targetContainerName: Not found: "x"'),
        (debugger(ports=[{"containerPort": 80}]),
         "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container"),
        (debugger(resources={"limits": {"cpu": "1"}}),
         "spec.ephemeralContainers[0].resources: Forbidden: cannot be set for an Ephemeral Container"),
        ({"name": "debug"}, "spec.ephemeralContainers[0].image: Required value"),
    ],
)  # fmt: skip
async def test_an_ephemeral_container_is_held_to_its_rules(api: Api, container: dict[str, Any], expected: str) -> None:
    await api.create(PODS, pod())
    answer = await api.patch(f"{PODS}/p/ephemeralcontainers", {"spec": {"ephemeralContainers": [container]}})
    assert problems(answer) == expected


async def test_a_pod_is_resized_and_nothing_else_of_it_changes(api: Api) -> None:
    made = (await api.create(PODS, pod(requests={"cpu": "100m"}, limits={"cpu": "200m"}))).body
    made["spec"]["containers"][0] |= {"image": "x", "resources": {"requests": {"cpu": "150m"}, "limits": {"cpu": "1"}}}
    answer = await api.update(f"{PODS}/p/resize", made)
    assert answer.code == 200, answer.body
    (container,) = answer.body["spec"]["containers"]
    assert container["image"] == "i:1"
    assert container["resources"] == {"requests": {"cpu": "150m"}, "limits": {"cpu": "1"}}
    assert answer.body["metadata"]["generation"] == 2
    again = await api.patch(f"{PODS}/p/resize", resize(requests={"cpu": "150m"}, limits={"cpu": "1"}), "strategic")
    assert again.body["metadata"]["generation"] == 2, "what changes nothing is no new generation"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"requests": {"cpu": "1"}}, {"requests": {"cpu": None}},
         "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"),
        ({"requests": {"cpu": "1"}}, {"requests": {"ephemeral-storage": "1Gi"}},
         "spec.containers[0].resources: Forbidden: only cpu and memory resources are mutable"),
        ({"requests": {"cpu": "1"}}, {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"memory": "1Gi"}},
         "Pod QOS Class may not change as a result of resizing"),
    ],
)  # fmt: skip
async def test_a_resize_is_held_to_its_rules(
    api: Api, before: dict[str, Any], after: dict[str, Any], expected: str
) -> None:
    await api.create(PODS, pod(**before))
    answer = await api.patch(f"{PODS}/p/resize", resize(**after), "strategic")
    assert expected in problems(answer)


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]},
         ["spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
          "spec.containers[1].name: Forbidden: containers may not be renamed or reordered on resize"]),
        ({"containers": [{"name": "b"}, {"name": "a"}]},
         ["spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
          "spec.containers[1].name: Forbidden: containers may not be renamed or reordered on resize"]),
        ({"containers": [{"name": "b", "$patch": "delete"}, {"name": "c", "image": "i:1"}],
          "$setElementOrder/containers": [{"name": "a"}, {"name": "c"}]},
         ["spec.containers[1].name: Forbidden: containers may not be renamed or reordered on resize"]),
        ({"containers": [{"name": "b", "$patch": "delete"}]},
         ["spec.containers: Forbidden: containers may not be added or removed on resize"]),
    ],
)  # fmt: skip
async def test_containers_are_the_same_after_a_resize(api: Api, patch: dict[str, Any], expected: list[str]) -> None:
    containers = [{"name": name, "image": "i:1", "resources": {"requests": {"cpu": "1"}}} for name in "ab"]
    await api.create(PODS, {"metadata": {"name": "p"}, "spec": {"containers": containers}})
    answer = await api.patch(f"{PODS}/p/resize", {"spec": patch}, "strategic")
    assert problems(answer).strip("[]") == ", ".join(expected)


async def test_a_resize_that_the_node_could_never_grant_is_refused(api: Api) -> None:
    labels = {"kubernetes.io/os": "linux"}
    node = {"metadata": {"name": "n", "labels": labels}, "status": {"allocatable": {"cpu": "2", "memory": "1Gi"}}}
    await api.create("/api/v1/nodes", node)
    placed = pod(requests={"cpu": "1", "memory": "1Gi"})
    placed["spec"]["nodeName"] = "n"
    await api.create(PODS, placed)
    answer = await api.patch(f"{PODS}/p/resize", resize(requests={"cpu": "2500m", "memory": "2Gi"}), "strategic")
    assert (answer.code, answer.body["reason"]) == (403, "Forbidden")
    assert answer.body["message"] == (
        'pods "p" is forbidden: node didn\'t have enough allocatable resources: '
        "cpu, requested: 2500, allocatable: 2000; memory, requested: 2147483648, allocatable: 1073741824"
    )
    assert answer.body["details"]["causes"] == [{"reason": "NodeCapacity"}]
    assert (await api.patch(f"{PODS}/p/resize", resize(requests={"cpu": "2"}), "strategic")).code == 200
    await api.patch("/api/v1/nodes/n", {"metadata": {"labels": {"kubernetes.io/os": "windows"}}})
    other = await api.patch(f"{PODS}/p/resize", resize(requests={"cpu": "1"}), "strategic")
    assert 'pod resize is only supported on linux nodes, node "n" is "windows"' in other.body["message"]
    assert (await api.patch(f"{PODS}/p/resize", resize(requests={"cpu": "2"}), "strategic")).code == 200, "no change"
    await api.delete("/api/v1/nodes/n")
    gone = await api.patch(f"{PODS}/p/resize", resize(requests={"cpu": "1"}), "strategic")
    assert gone.body["message"] == 'pods "p" is forbidden: node "n" not found'


async def test_resources_do_not_change_by_the_pods_own_path(api: Api) -> None:
    await api.create(PODS, pod(requests={"cpu": "1"}))
    answer = await api.patch(f"{PODS}/p", resize(requests={"cpu": "2"}), "strategic")
    assert "pod updates may not change fields other than" in problems(answer)


async def test_a_resize_needs_room_in_the_quota_and_keeps_to_limit_ranges(api: Api) -> None:
    await api.create(QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": {"requests.cpu": "2"}}})
    assert (await api.create(PODS, pod(requests={"cpu": "1"}))).code == 201
    answer = await api.patch(f"{PODS}/p/resize", resize(requests={"cpu": "3"}), "strategic")
    assert answer.code == 403 and answer.body["message"] == (
        'pods "p" is forbidden: exceeded quota: q, requested: requests.cpu=2, used: requests.cpu=1, '
        "limited: requests.cpu=2"
    )
    limit = {"type": "Container", "max": {"cpu": "1500m"}}
    ranges = "/api/v1/namespaces/default/limitranges"
    assert (await api.create(ranges, {"metadata": {"name": "l"}, "spec": {"limits": [limit]}})).code == 201
    answer = await api.patch(f"{PODS}/p/resize", resize(requests={"cpu": "1100m"}), "strategic")
    assert answer.code == 403 and "maximum cpu usage per Container is 1500m" in answer.body["message"]
