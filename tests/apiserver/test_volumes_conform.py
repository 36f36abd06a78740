"""Volumes and claims live their life in the API, whoever binds them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.serving import Api

VOLUMES = "/api/v1/persistentvolumes"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
SELECTED = "labelSelector=e2e-pv%3Dyes"


def volume(name: str) -> dict[str, Any]:
    spec = {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "manual",
        "csi": {"driver": "example.com", "volumeHandle": name}, "persistentVolumeReclaimPolicy": "Delete",
    }  # fmt: skip
    return {"metadata": {"name": name, "labels": {"e2e-pv": "yes"}}, "spec": spec}


def claim(name: str) -> dict[str, Any]:
    spec = {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "manual", "resources": {"requests": {"storage": "1Gi"}},
    }  # fmt: skip
    return {"metadata": {"name": name, "labels": {"e2e-pv": "yes"}}, "spec": spec}


async def released(api: Api, path: str) -> None:
    """What the protecting controllers do once nobody uses it: the finalizer goes, and with it the object."""
    found = await api.get(path)
    if found.code == 200:
        assert found.body["metadata"]["deletionTimestamp"]
        await api.patch(path, {"metadata": {"finalizers": None}})
    assert (await api.get(path)).code == 404


@pytest.mark.behaviour("PersistentVolumes CSI Conformance should run through the lifecycle of a PV and a PVC")
async def test_a_volume_and_a_claim_live_from_create_to_delete(api: Api) -> None:
    for collection, body in ((VOLUMES, volume("v")), (CLAIMS, claim("c"))):
        name = body["metadata"]["name"]
        made = await api.create(collection, body)
        assert made.code == 201, made.body
        listed = await api.get(f"{collection}?{SELECTED}")
        assert [one["metadata"]["name"] for one in listed.body["items"]] == [name]
        patched = await api.patch(f"{collection}/{name}", {"metadata": {"labels": {name: "patched"}}})
        assert patched.body["metadata"]["labels"][name] == "patched"
        assert (await api.get(f"{collection}/{name}")).body["metadata"]["uid"] == made.body["metadata"]["uid"]
    for path in (f"{CLAIMS}/c", f"{VOLUMES}/v"):
        await api.delete(path)
        await released(api, path)
    for collection, body in ((VOLUMES, volume("w")), (CLAIMS, claim("d"))):
        name = body["metadata"]["name"]
        current = (await api.create(collection, body)).body
        current["metadata"]["labels"][name] = "updated"
        updated = await api.update(f"{collection}/{name}", current)
        assert updated.body["metadata"]["labels"][name] == "updated"
        assert (await api.delete(f"{collection}?labelSelector={name}%3Dupdated")).code == 200
        await released(api, f"{collection}/{name}")


@pytest.mark.behaviour("PersistentVolumes CSI Conformance should apply changes to a pv/pvc status")
async def test_the_status_of_a_volume_and_a_claim_is_read_patched_and_updated(api: Api) -> None:
    await api.create(VOLUMES, volume("v"))
    await api.create(CLAIMS, claim("c"))
    for path in (f"{CLAIMS}/c/status", f"{VOLUMES}/v/status"):
        assert (await api.get(path)).body["status"]["phase"] == "Pending"
    condition = {"type": "StatusPatched", "status": "True", "reason": "E2E", "message": "patched"}
    patched = await api.patch(f"{CLAIMS}/c/status", {"status": {"conditions": [condition]}})
    assert patched.body["status"]["conditions"][0]["type"] == "StatusPatched"
    patched = await api.patch(f"{VOLUMES}/v/status", {"status": {"message": "patched", "reason": "E2E"}})
    assert (patched.body["status"]["message"], patched.body["status"]["reason"]) == ("patched", "E2E")
    found = (await api.get(f"{CLAIMS}/c/status")).body
    found["status"]["conditions"].append({**condition, "type": "StatusUpdated"})
    updated = await api.update(f"{CLAIMS}/c/status", found)
    assert [one["type"] for one in updated.body["status"]["conditions"]] == ["StatusPatched", "StatusUpdated"]
    found = (await api.get(f"{VOLUMES}/v/status")).body
    found["status"] |= {"reason": "Again", "message": "updated"}
    updated = await api.update(f"{VOLUMES}/v/status", found)
    assert (updated.body["status"]["message"], updated.body["status"]["reason"]) == ("updated", "Again")


async def test_a_volume_says_since_when_it_is_in_its_phase(api: Api) -> None:
    lies = {**volume("v"), "status": {"phase": "Bound", "lastPhaseTransitionTime": "2001-01-01T00:00:00Z"}}
    made = (await api.create(VOLUMES, lies)).body
    since = made["status"]["lastPhaseTransitionTime"]
    assert made["status"]["phase"] == "Pending"
    assert since == made["metadata"]["creationTimestamp"]
    earlier = "2020-02-02T00:00:00Z"
    said = {"status": {"phase": "Available", "lastPhaseTransitionTime": earlier}}
    body = (await api.patch(f"{VOLUMES}/v/status", said)).body
    assert body["status"]["lastPhaseTransitionTime"] == earlier  # Whoever moves it may say when.
    body = (await api.patch(f"{VOLUMES}/v/status", {"status": {"message": "hello"}})).body
    assert body["status"]["lastPhaseTransitionTime"] == earlier
    body = (await api.patch(f"{VOLUMES}/v/status", {"status": {"phase": "Bound"}})).body
    assert body["status"]["lastPhaseTransitionTime"] > earlier
    body = (await api.patch(f"{VOLUMES}/v", {"metadata": {"labels": {"a": "b"}}})).body
    assert body["status"]["lastPhaseTransitionTime"] > earlier


async def test_a_claim_says_how_far_its_growth_has_come(api: Api) -> None:
    await api.create(CLAIMS, claim("c"))
    for state in ("ControllerResizeInProgress", "NodeResizePending", "NodeResizeInProgress", "NodeResizeInfeasible"):
        answer = await api.patch(f"{CLAIMS}/c/status", {"status": {"allocatedResourceStatuses": {"storage": state}}})
        assert answer.body["status"]["allocatedResourceStatuses"] == {"storage": state}
    # Its name until 1.30, which the published description of the field still has.
    failed = await api.patch(
        f"{CLAIMS}/c/status", {"status": {"allocatedResourceStatuses": {"storage": "NodeResizeFailed"}}}
    )
    assert (failed.code, failed.body["reason"]) == (422, "Invalid")
    assert failed.body["details"]["causes"][0]["reason"] == "FieldValueNotSupported"
