"""Discovery tells what a real API server tells of the same resources; each difference stands here with its reason."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import orjson
import pytest

from kontinuum.api.kubernetes.resources import RESOURCES
from kontinuum.apiserver import dispatch
from kontinuum.apiserver.discovery import AGGREGATED, Discovery, version_info
from kontinuum.apiserver.document import Document

BESIDE_THE_CLONE = Path(__file__).parents[3] / "shared/kubernetes-1.36"
REFERENCE = Path(os.environ.get("KUBERNETES_REFERENCE", BESIDE_THE_CLONE)) / "discovery"
needs_reference = pytest.mark.skipif(
    not REFERENCE.exists(),
    reason="the answers of a real API server are not here; point KUBERNETES_REFERENCE at them",
)
STORED_OTHERWISE = {
    # Kubernetes keeps these in a beta version that it also serves; we store what we serve.
    "customresourcedefinitions", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings",
}  # fmt: skip
AGGREGATED_ACCEPT = f"{AGGREGATED},application/json"


@pytest.fixture
def discovery() -> Discovery:
    return Discovery(RESOURCES, dispatch.verbs)


@pytest.mark.parametrize(("machine", "said"), [("x86_64", "amd64"), ("aarch64", "arm64"), ("riscv64", "riscv64")])
def test_the_version_says_what_the_server_runs_on(monkeypatch: pytest.MonkeyPatch, machine: str, said: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert version_info()["platform"] == f"linux/{said}"


def content(document: Document | None) -> Any:
    assert document is not None
    return orjson.loads(document.plain())


@needs_reference
@pytest.mark.parametrize("group_version", sorted({resource.api_version for resource in RESOURCES}))
def test_the_resources_of_a_group_are_described_as_a_real_server_does(discovery: Discovery, group_version: str) -> None:
    prefix = "apis" if "/" in group_version else "api"
    if not any(set(dispatch.verbs(each, "")) for each in RESOURCES if each.api_version == group_version):
        pytest.skip("nobody answers any of this group's resources yet")
    ours = content(discovery.find(f"/{prefix}/{group_version}", "application/json"))
    theirs = json.loads((REFERENCE / f"{prefix}__{group_version.replace('/', '__')}.json").read_text())
    served = {resource.plural for resource in RESOURCES}
    expected = [entry for entry in theirs["resources"] if entry["name"].partition("/")[0] in served]
    assert [entry["name"] for entry in ours["resources"]] == [entry["name"] for entry in expected]
    for entry in (*ours["resources"], *expected):
        if entry["name"] in STORED_OTHERWISE:
            entry.pop("storageVersionHash")
    assert ours["resources"] == expected
    assert ours["groupVersion"] == theirs["groupVersion"]


@needs_reference
def test_the_aggregated_form_says_the_same_as_a_real_server_s(discovery: Discovery) -> None:
    theirs = {
        (group["metadata"].get("name", ""), version["version"], resource["resource"]): resource
        for group in json.loads((REFERENCE / "aggregated_v2.json").read_text())["items"]
        for version in group["versions"]
        for resource in version["resources"]
    }
    for path in ("/api", "/apis"):
        for group in content(discovery.find(path, AGGREGATED_ACCEPT))["items"]:
            for version in group["versions"]:
                for resource in version["resources"]:
                    key = (group["metadata"].get("name", ""), version["version"], resource["resource"])
                    if key not in theirs:
                        assert key[0] == "", f"{key} is unknown to a real server"
                        continue
                    expected = theirs[key]
                    below = expected.get("subresources", [])
                    assert resource == ({**expected, "subresources": below} if below else _without(expected))


def _without(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "subresources"}


@needs_reference
def test_groups_come_in_the_order_of_their_priority(discovery: Discovery) -> None:
    ours = [group["name"] for group in content(discovery.find("/apis", ""))["groups"]]
    theirs = [group["name"] for group in json.loads((REFERENCE / "apis.json").read_text())["groups"]]
    assert ours == [name for name in theirs if name in ours]


@pytest.mark.parametrize(
    ("accept", "is_aggregated"),
    [
        (AGGREGATED_ACCEPT, True),
        (f"application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,{AGGREGATED}", True),
        ("application/json", False),
        (f"application/json,{AGGREGATED}", False),
        ("", False),
    ],
)
def test_the_client_s_first_choice_decides_the_form(discovery: Discovery, accept: str, is_aggregated: bool) -> None:
    document = discovery.find("/apis", accept)
    assert document is not None
    assert (document.media == AGGREGATED) is is_aggregated
    assert content(document)["kind"] == ("APIGroupDiscoveryList" if is_aggregated else "APIGroupList")


@pytest.mark.parametrize("path", ["/apis/nowhere", "/apis/apps/v9", "/api/v2", "/openapi", "/apis/apps/v1/pods"])
def test_what_is_not_served_is_not_found(discovery: Discovery, path: str) -> None:
    assert discovery.find(path, "") is None


def test_no_verb_is_promised_that_no_function_answers(discovery: Discovery) -> None:
    for resource in RESOURCES:
        for entry in discovery._entries(resource) if set(dispatch.verbs(resource, "")) else ():
            assert entry["verbs"], f"{entry['name']} is told but never answered"
