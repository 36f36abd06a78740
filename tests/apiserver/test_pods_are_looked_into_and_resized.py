"""A pod's ephemeral containers and resources, each changed through a path of its own and otherwise fixed."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.serving import PODS, Api, pod

POD = f"{PODS}/p"
EPHEMERAL, RESIZE = f"{POD}/ephemeralcontainers", f"{POD}/resize"


def debugger(name: str = "debugger", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "localhost/busybox:1", **more}


def added(*containers: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"ephemeralContainers": list(containers)}}


def resources(cpu: str, memory: str = "64Mi", **more: Any) -> dict[str, Any]:
    amounts = {"cpu": cpu, "memory": memory, **more}
    return {"spec": {"containers": [{"name": "main", "resources": {"requests": amounts}}]}}


async def create(api: Api) -> None:
    body = pod("p")
    body["spec"]["containers"][0]["resources"] = resources("100m")["spec"]["containers"][0]["resources"]
    assert (await api.create(PODS, body)).code == 201


async def test_an_ephemeral_container_is_added_with_its_defaults_and_nothing_else_is_changed(api: Api) -> None:
    await create(api)
    change = added(debugger(targetContainerName="main", stdin=True))
    change["metadata"] = {"labels": {"more": "labels"}}
    change["spec"]["containers"] = [{"name": "main", "image": "localhost/other:1"}]
    done = await api.patch(EPHEMERAL, change, "strategic")
    assert done.code == 200, done.body
    (container,) = done.body["spec"]["ephemeralContainers"]
    assert container["terminationMessagePolicy"] == "File" and container["imagePullPolicy"] == "IfNotPresent"
    assert done.body["spec"]["containers"][0]["image"] == "localhost/nginx:1"
    assert done.body["metadata"]["labels"] == {"app": "p"} and done.body["metadata"]["generation"] == 2
    second = await api.patch(EPHEMERAL, added(debugger("second")), "strategic")
    assert {one["name"] for one in second.body["spec"]["ephemeralContainers"]} == {"debugger", "second"}
    assert (await api.get(EPHEMERAL)).body == (await api.get(POD)).body


@pytest.mark.parametrize(
    ("container", "problem"),
    [
        (debugger(ports=[{"containerPort": 80}]), "[0].ports: Forbidden: cannot be set for an Ephemeral Container"),
        (debugger(resources={"limits": {"cpu": "1"}}), "[0].resources: Forbidden: cannot be set for an Ephemeral"),
        (debugger(targetContainerName="none"), '[0].targetContainerName: Not found: "none"'),
        (debugger("main"), '[0].name: Duplicate value: "main"'),
        ({"name": "x"}, "[0].image: Required value"),
    ],
)
async def test_an_ephemeral_container_has_no_part_in_what_the_pod_needs(
    api: Api, container: dict[str, Any], problem: str
) -> None:
    await create(api)
    refused = await api.patch(EPHEMERAL, added(container))
    assert refused.code == 422 and f"spec.ephemeralContainers{problem}" in refused.body["message"], refused.body


async def test_an_ephemeral_container_stays_as_it_is(api: Api) -> None:
    await create(api)
    await api.patch(EPHEMERAL, added(debugger()))
    for change, problem in ((added(), "may not be removed"), (added(debugger(tty=True)), "may not be changed")):
        refused = await api.patch(EPHEMERAL, change)
        assert refused.code == 422, refused.body
        assert f'existing ephemeral containers "debugger" {problem}' in refused.body["message"]
    born = pod("q")
    born["spec"]["ephemeralContainers"] = [debugger()]
    assert "cannot be set on create" in (await api.create(PODS, born)).body["message"]
    assert (await api.patch(POD, added(debugger(), debugger("more")))).code == 422


async def test_a_pod_is_resized_and_otherwise_left_alone(api: Api) -> None:
    await create(api)
    change = resources("200m", "128Mi")
    change["spec"]["containers"][0]["image"] = "localhost/other:1"
    done = await api.patch(RESIZE, change, "strategic")
    assert done.code == 200, done.body
    (container,) = done.body["spec"]["containers"]
    assert container["resources"]["requests"] == {"cpu": "200m", "memory": "128Mi"}
    assert container["image"] == "localhost/nginx:1" and done.body["metadata"]["generation"] == 2
    assert (await api.patch(POD, resources("300m"), "strategic")).code == 422, "only through its own path"
    body = (await api.get(POD)).body
    body["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "250m"
    assert (await api.update(RESIZE, body)).code == 200


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (resources("200m", **{"ephemeral-storage": "1Gi"}), "only cpu and memory resources are mutable"),
        (
            {"spec": {"containers": [{"name": "main", "resources": {"requests": {"memory": None}}}]}},
            "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
        ),
        (
            {"spec": {"containers": [{"name": "main", "resources": {"limits": {"cpu": "100m", "memory": "64Mi"}}}]}},
            'spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing',
        ),
        (resources("-1"), "must be greater than or equal to 0"),
    ],
)
async def test_a_resize_keeps_what_the_pod_was_promised(api: Api, change: dict[str, Any], problem: str) -> None:
    await create(api)
    refused = await api.patch(RESIZE, change, "strategic")
    assert refused.code == 422 and problem in refused.body["message"], refused.body
