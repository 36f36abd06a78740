"""What LimitRanges give to pods and claims, and what they refuse, in Kubernetes' words."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.serving import PODS, Answer, Api

RANGES = "/api/v1/namespaces/default/limitranges"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"


def limit_range(name: str, *limits: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"limits": list(limits)}}


def pod(*resources: dict[str, Any], first: dict[str, Any] | None = None) -> dict[str, Any]:
    containers = [{"name": f"c{index}", "image": "i:1", "resources": one} for index, one in enumerate(resources)]
    spec: dict[str, Any] = {"containers": containers}
    if first is not None:
        spec["initContainers"] = [{"name": "first", "image": "i:1", "resources": first}]
    return {"metadata": {"name": "p"}, "spec": spec}


def problem(answer: Answer) -> str:
    assert (answer.code, answer.body["reason"]) == (403, "Forbidden"), answer.body
    return str(answer.body["message"]).partition(" is forbidden: ")[2]


@pytest.mark.behaviour("LimitRange should create a LimitRange with defaults and ensure pod has those defaults applied.")
async def test_containers_get_the_defaults_that_they_leave_open(api: Api) -> None:
    least, most = {"cpu": "50m", "memory": "100Mi"}, {"cpu": "500m", "memory": "500Mi"}
    wanted, allowed = {"cpu": "100m", "memory": "200Mi"}, {"cpu": "300m", "memory": "400Mi"}
    body = limit_range("l", {
        "type": "Container", "min": least, "max": most, "default": allowed, "defaultRequest": wanted,
        "maxLimitRequestRatio": {},
    })  # fmt: skip
    assert (await api.create(RANGES, body)).code == 201
    read = (await api.get(f"{RANGES}/l")).body["spec"]["limits"][0]
    assert (read["min"], read["max"], read["default"], read["defaultRequest"]) == (least, most, allowed, wanted)

    made = (await api.create(PODS, pod({}, first={}))).body
    filled = {"requests": wanted, "limits": allowed}
    assert made["spec"]["containers"][0]["resources"] == filled
    assert made["spec"]["initContainers"][0]["resources"] == filled
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu, memory request for container c0; cpu, memory limit for container c0; "
        "cpu, memory request for init container first; cpu, memory limit for init container first"
    )
    assert made["status"]["qosClass"] == "Burstable"
    await api.call("DELETE", f"{PODS}/p?gracePeriodSeconds=0")

    partial = {"requests": {"cpu": "60m", "memory": "150Mi"}, "limits": {"cpu": "300m"}}
    merged = (await api.create(PODS, pod(partial))).body["spec"]["containers"][0]["resources"]
    assert merged == {"requests": partial["requests"], "limits": {"cpu": "300m", "memory": "400Mi"}}
    await api.call("DELETE", f"{PODS}/p?gracePeriodSeconds=0")

    assert "minimum memory usage" in problem(await api.create(PODS, pod({"requests": {"memory": "50Mi"}})))
    assert "maximum cpu usage" in problem(await api.create(PODS, pod({"limits": {"cpu": "600m"}})))
    smaller = {"cpu": "10m", "memory": "10Mi"}
    body["spec"]["limits"][0]["min"] = smaller
    assert (await api.update(f"{RANGES}/l", body)).body["spec"]["limits"][0]["min"] == smaller
    assert (await api.create(PODS, pod({"requests": {"cpu": "20m", "memory": "50Mi"}}))).code == 201


async def test_a_pod_with_resources_of_its_own_is_not_annotated(api: Api) -> None:
    await api.create(RANGES, limit_range("l", {"type": "Container", "default": {"cpu": "1"}}))
    made = (await api.create(PODS, pod({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}))).body
    assert "annotations" not in made["metadata"]


@pytest.mark.parametrize(
    ("limit", "resources", "expected"),
    [
        ({"min": {"cpu": "100m"}}, [{"requests": {"cpu": "50m"}}],
         "minimum cpu usage per Container is 100m, but request is 50m"),
        ({"max": {"cpu": "1"}}, [{"limits": {"cpu": "2"}}], "maximum cpu usage per Container is 1, but limit is 2"),
        ({"max": {"memory": "1Gi"}}, [{"limits": {"memory": "2Gi"}}, {"limits": {"memory": "3Gi"}}],
         "[maximum memory usage per Container is 1Gi, but limit is 2Gi, "
         "maximum memory usage per Container is 1Gi, but limit is 3Gi]"),
        ({"maxLimitRequestRatio": {"cpu": "2"}}, [{"requests": {"cpu": "100m"}, "limits": {"cpu": "250m"}}],
         "cpu max limit to request ratio per Container is 2, but provided ratio is 2.500000"),
        ({"maxLimitRequestRatio": {"cpu": "2"}}, [{}],
         "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0"),
        ({"maxLimitRequestRatio": {"cpu": "2"}}, [{"requests": {"cpu": "1"}}],
         "cpu max limit to request ratio per Container is 2, but no limit is specified or limit is 0"),
        ({"type": "Pod", "max": {"cpu": "2"}}, [{"limits": {"cpu": "1500m"}}, {"limits": {"cpu": "1"}}],
         "maximum cpu usage per Pod is 2, but limit is 2500m"),
        ({"type": "Pod", "min": {"memory": "1Gi"}}, [{"requests": {"memory": "512Mi"}}],
         "minimum memory usage per Pod is 1Gi, but request is 512Mi"),
        ({"type": "Pod", "max": {"cpu": "2"}}, [{}], "maximum cpu usage per Pod is 2.  No limit is specified"),
        ({"type": "Pod", "min": {"cpu": "2"}}, [{}], "minimum cpu usage per Pod is 2.  No request is specified"),
    ],
)  # fmt: skip
async def test_a_pod_outside_the_bounds_is_refused_in_kubernetes_words(
    api: Api, limit: dict[str, Any], resources: list[dict[str, Any]], expected: str
) -> None:
    made = await api.create(RANGES, limit_range("l", {"type": "Container", **limit}))
    assert made.code == 201, made.body
    assert problem(await api.create(PODS, pod(*resources))) == expected


async def test_init_containers_count_by_their_peak(api: Api) -> None:
    await api.create(RANGES, limit_range("l", {"type": "Pod", "max": {"cpu": "2"}}))
    assert (await api.create(PODS, pod({"limits": {"cpu": "2"}}, first={"limits": {"cpu": "2"}}))).code == 201
    refused = await api.create(PODS, pod({"limits": {"cpu": "1"}}, first={"limits": {"cpu": "3"}}))
    assert problem(refused) == "maximum cpu usage per Pod is 2, but limit is 3"


async def test_claims_are_held_to_a_size_when_made_and_when_they_grow(api: Api) -> None:
    limit = {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}
    await api.create(RANGES, limit_range("l", limit))

    def claim(size: str) -> dict[str, Any]:
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, "storageClassName": "s"}
        return {"metadata": {"name": "c"}, "spec": spec}

    too_small = await api.create(CLAIMS, claim("512Mi"))
    assert problem(too_small) == "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 512Mi"
    too_large = await api.create(CLAIMS, claim("3Gi"))
    assert problem(too_large) == "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"
    assert (await api.create(CLAIMS, claim("1Gi"))).code == 201


async def test_what_is_being_deleted_may_still_be_written(api: Api) -> None:
    """A finalizer must be removable from a claim that a later LimitRange would not have."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": ""}
    await api.create(CLAIMS, {"metadata": {"name": "c"}, "spec": spec})
    limit = {"type": "PersistentVolumeClaim", "min": {"storage": "2Gi"}}
    await api.create(RANGES, limit_range("l", limit))
    assert (await api.patch(f"{CLAIMS}/c", {"metadata": {"labels": {"a": "b"}}})).code == 403
    await api.delete(f"{CLAIMS}/c")
    assert (await api.patch(f"{CLAIMS}/c", {"metadata": {"finalizers": None}})).code == 200
    assert (await api.get(f"{CLAIMS}/c")).code == 404
