"""Conformance behaviours that need a request or two: names that cannot be, what is there from the start, namespaces."""

from __future__ import annotations

import pytest
from tests.apiserver.serving import Api, configmap

NAMESPACES = "/api/v1/namespaces"
CONDITION = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set by a test"}


@pytest.mark.behaviour("ConfigMap should fail to create ConfigMap with empty key")
async def test_a_configmap_has_no_empty_key(api: Api) -> None:
    refused = await api.create(f"{NAMESPACES}/default/configmaps", configmap("c", **{"": "value"}))
    assert (refused.code, refused.body["reason"]) == (422, "Invalid")
    assert (await api.get(f"{NAMESPACES}/default/configmaps/c")).code == 404


@pytest.mark.behaviour("Secrets should fail to create secret due to empty secret key")
async def test_a_secret_has_no_empty_key(api: Api) -> None:
    body = {"metadata": {"name": "s"}, "data": {"": "dmFsdWUtMQo="}}
    refused = await api.create(f"{NAMESPACES}/default/secrets", body)
    assert (refused.code, refused.body["reason"]) == (422, "Invalid")
    assert (await api.get(f"{NAMESPACES}/default/secrets/s")).code == 404


@pytest.mark.behaviour("Services should find a service from listing all namespaces")
async def test_the_servers_own_service_is_among_those_of_all_namespaces(api: Api) -> None:
    listed = (await api.get("/api/v1/services")).body["items"]
    assert ("kubernetes", "default") in {(one["metadata"]["name"], one["metadata"]["namespace"]) for one in listed}


@pytest.mark.behaviour("Namespaces should patch a Namespace")
async def test_a_namespace_is_patched(api: Api) -> None:
    await api.create(NAMESPACES, {"metadata": {"name": "patched"}})
    await api.patch(f"{NAMESPACES}/patched", {"metadata": {"labels": {"testLabel": "testValue"}}}, "strategic")
    assert (await api.get(f"{NAMESPACES}/patched")).body["metadata"]["labels"]["testLabel"] == "testValue"


@pytest.mark.behaviour("Namespaces should apply an update to a Namespace")
async def test_a_namespace_is_updated(api: Api) -> None:
    body = (await api.create(NAMESPACES, {"metadata": {"name": "updated"}})).body
    body["metadata"]["labels"]["updated"] = "yes"
    assert (await api.update(f"{NAMESPACES}/updated", body)).code == 200
    assert (await api.get(f"{NAMESPACES}/updated")).body["metadata"]["labels"]["updated"] == "yes"


@pytest.mark.behaviour("Namespaces should apply changes to a namespace status")
async def test_a_namespaces_status_is_read_patched_and_updated(api: Api) -> None:
    await api.create(NAMESPACES, {"metadata": {"name": "reported"}})
    path = f"{NAMESPACES}/reported/status"
    read = await api.get(path)
    assert read.body["status"]["phase"] == "Active"
    patched = await api.patch(path, {"metadata": {"annotations": {"e": "p"}}, "status": {"conditions": [CONDITION]}})
    assert patched.body["metadata"]["annotations"]["e"] == "p" and patched.body["status"]["conditions"] == [CONDITION]
    body = patched.body
    body["status"]["conditions"] = [CONDITION | {"reason": "Updated"}]
    assert (await api.update(path, body)).code == 200
    found = (await api.get(path)).body["status"]
    assert found["conditions"] == body["status"]["conditions"] and found["phase"] == "Active"


@pytest.mark.behaviour("Job should apply changes to a job status")
async def test_a_jobs_status_is_patched_replaced_and_read(api: Api) -> None:
    jobs = "/apis/batch/v1/namespaces/default/jobs"
    pods = {"containers": [{"name": "c", "image": "localhost/nginx:1"}], "restartPolicy": "Never"}
    made = await api.create(jobs, {"metadata": {"name": "j"}, "spec": {"parallelism": 2, "template": {"spec": pods}}})
    assert made.code == 201
    now = "2026-01-01T00:00:00Z"
    change = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": {"startTime": now}}
    patched = await api.patch(f"{jobs}/j/status", change)
    assert patched.code == 200, patched.body
    assert patched.body["metadata"]["annotations"]["patchedstatus"] == "true"
    body = (await api.get(f"{jobs}/j")).body
    assert body["status"]["startTime"] == now
    body["status"]["active"] = 2
    replaced = await api.update(f"{jobs}/j/status", body)
    assert replaced.code == 200, replaced.body
    read = (await api.get(f"{jobs}/j/status")).body
    assert (read["kind"], read["status"]["active"], read["spec"]["parallelism"]) == ("Job", 2, 2)


async def test_a_condition_is_answered_with_all_that_typed_clients_require(api: Api) -> None:
    budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
    await api.create(budgets, {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {}}})
    condition = {"type": "DisruptionAllowed", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    change = {"status": {"conditions": [condition | {"reason": "SufficientPods"}]}}
    patched = await api.patch(f"{budgets}/b/status", change)
    assert patched.code == 200, patched.body
    (answered,) = (await api.get(f"{budgets}/b")).body["status"]["conditions"]
    assert (answered["reason"], answered["message"]) == ("SufficientPods", "")
