"""The scale of workloads whose controllers are not needed to show it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.every_kind import SAMPLES
from tests.apiserver.serving import Api

SCALED = [
    pytest.param(
        "statefulsets.apps",
        marks=pytest.mark.behaviour(
            "StatefulSet Basic StatefulSet functionality should have a working scale subresource"
        ),
    ),
    pytest.param(
        "replicationcontrollers",
        marks=pytest.mark.behaviour("ReplicationController should get and update a ReplicationController scale"),
    ),
]


@pytest.mark.parametrize("kind", SCALED)
async def test_a_scale_is_read_updated_and_patched(api: Api, kind: str) -> None:
    sample = SAMPLES[kind]
    collection = sample.path.replace("NS", "default")
    spec = {key: value for key, value in sample.body["spec"].items() if key != "replicas"}
    await api.create(collection, {"metadata": {"name": "web"}, "spec": spec})
    path = f"{collection}/web/scale"
    scale: dict[str, Any] = (await api.get(path)).body
    assert (scale["kind"], scale["spec"]["replicas"]) == ("Scale", 1)
    assert (await api.update(path, scale | {"spec": {"replicas": 2}})).body["spec"]["replicas"] == 2
    found = (await api.get(f"{collection}/web")).body
    assert found["spec"]["replicas"] == 2 and found["metadata"]["generation"] == 2
    stale = await api.update(path, scale | {"spec": {"replicas": 5}})
    assert (stale.code, stale.body["reason"]) == (409, "Conflict")
    patched = await api.patch(path, {"spec": {"replicas": 4}})
    assert patched.body["spec"]["replicas"] == (await api.get(path)).body["spec"]["replicas"] == 4
    refused = await api.patch(path, {"spec": {"replicas": -1}})
    assert refused.code == 422 and "must be greater than or equal to 0" in refused.body["message"]
    dry = await api.patch(f"{path}?dryRun=All", {"spec": {"replicas": 9}})
    assert dry.body["spec"]["replicas"] == 9 and (await api.get(path)).body["spec"]["replicas"] == 4
