"""Discovery as clients walk through it: every group leads to its versions, every version to resources that answer."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.apiserver.serving import Api

from kontinuum.api.kubernetes.resources import RESOURCES
from kontinuum.apiserver.discovery import AGGREGATED

BUILT_IN = {(one.group, one.version, one.plural) for one in RESOURCES}
EXPECTED = {
    ("", "v1", "pods"), ("", "v1", "bindings"), ("", "v1", "componentstatuses"), ("apps", "v1", "deployments"),
    ("batch", "v1", "cronjobs"), ("autoscaling", "v1", "horizontalpodautoscalers"),
    ("apiregistration.k8s.io", "v1", "apiservices"), ("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
    ("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations"), ("policy", "v1", "poddisruptionbudgets"),
    ("authentication.k8s.io", "v1", "tokenreviews"), ("authorization.k8s.io", "v1", "selfsubjectrulesreviews"),
    ("certificates.k8s.io", "v1", "certificatesigningrequests"), ("coordination.k8s.io", "v1", "leases"),
    ("discovery.k8s.io", "v1", "endpointslices"), ("events.k8s.io", "v1", "events"),
    ("networking.k8s.io", "v1", "networkpolicies"), ("node.k8s.io", "v1", "runtimeclasses"),
    ("rbac.authorization.k8s.io", "v1", "clusterroles"), ("scheduling.k8s.io", "v1", "priorityclasses"),
    ("storage.k8s.io", "v1", "storageclasses"),
}  # fmt: skip


def listed(body: Any) -> set[tuple[str, str, str]]:
    """Group, version and resource of everything in an APIGroupDiscoveryList."""
    return {
        (group["metadata"].get("name", ""), version["version"], resource["resource"])
        for group in body["items"]
        for version in group["versions"]
        for resource in version["resources"]
    }


async def aggregated(api: Api, accept: str) -> set[tuple[str, str, str]]:
    found = set()
    for path in ("/api", "/apis"):
        answer = await api.get(path, accept=accept)
        assert answer.code == 200 and answer.headers["Content-Type"] == AGGREGATED
        body = orjson.loads(answer.body) if isinstance(answer.body, str) else answer.body
        assert (body["kind"], body["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
        found |= listed(body)
    return found


@pytest.mark.behaviour("AggregatedDiscovery should support raw aggregated discovery endpoint Accept headers")
@pytest.mark.parametrize(
    "accept",
    [AGGREGATED, f"{AGGREGATED},application/json", f"{AGGREGATED},application/json;q=0.9,*/*;q=0.1"],
)
async def test_the_aggregated_form_is_had_by_asking_for_it(api: Api, accept: str) -> None:
    found = await aggregated(api, accept)
    assert found >= EXPECTED and found >= BUILT_IN


@pytest.mark.behaviour("Discovery should validate PreferredVersion for each APIGroup")
async def test_every_group_prefers_a_version_that_it_has(api: Api) -> None:
    groups = (await api.get("/apis")).body["groups"]
    assert {group["name"] for group in groups} >= {group for group, _, _ in EXPECTED if group}
    for group in groups:
        one = (await api.get(f"/apis/{group['name']}")).body
        assert one["preferredVersion"] in one["versions"]
        assert one["preferredVersion"]["groupVersion"] == f"{group['name']}/{one['preferredVersion']['version']}"
        assert one["versions"] == group["versions"] and one["preferredVersion"] == group["preferredVersion"]


@pytest.mark.behaviour("Discovery should locate the groupVersion and a resource within each APIGroup")
async def test_every_group_version_lists_resources_that_answer(api: Api) -> None:
    groups = (await api.get("/apis")).body["groups"]
    versions = [version["groupVersion"] for group in groups for version in group["versions"]]
    assert len(versions) > 15
    for group_version in versions:
        listed = (await api.get(f"/apis/{group_version}")).body
        assert (listed["kind"], listed["groupVersion"]) == ("APIResourceList", group_version)
        assert listed["resources"]
        for resource in listed["resources"]:
            assert resource["name"] and resource["kind"] and resource["verbs"]
            if "list" in resource["verbs"] and "/" not in resource["name"]:
                answer = await api.get(f"/apis/{group_version}/{resource['name']}?limit=1")
                assert answer.code == 200 and answer.body["kind"] == f"{resource['kind']}List"
