"""Every kind can be selected by the fields that Kubernetes lets it be selected by, and by no others."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import orjson
import pytest
from tests.apiserver.every_kind import SAMPLES
from tests.apiserver.serving import PODS, Api, pod

# Kubernetes keeps these in ``ToSelectableFields`` of each kind and in the field label conversions of its versions.
INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
SELECTABLE = {
    "events": (*(f"involvedObject.{one}" for one in INVOLVED), "reason", "reportingComponent", "source", "type"),
    "events.events.k8s.io": (*(f"regarding.{one}" for one in INVOLVED), "reason", "reportingController", "type"),
    "namespaces": ("name", "status.phase"),
    "nodes": ("spec.unschedulable",),
    "pods": (
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
        "status.phase", "status.podIP", "status.nominatedNodeName",
    ),
    "replicationcontrollers": ("status.replicas",),
    "secrets": ("type",),
    "services": ("spec.clusterIP", "spec.type"),
    "replicasets.apps": ("status.replicas",),
    "jobs.batch": ("status.successful",),
    "certificatesigningrequests.certificates.k8s.io": ("spec.signerName",),
    "resourceslices.resource.k8s.io": ("spec.driver", "spec.nodeName"),
}  # fmt: skip
# Fields that selectors call otherwise than the object does, and fields whose absence is a value.
VALUES = {"name": "sample", "status.successful": "0", "spec.unschedulable": "false", "spec.hostNetwork": "false"}


def value_of(obj: Any, path: str) -> str:
    """The text that a selector has to give to find ``obj`` by the field."""
    found = obj
    for part in path.split("."):
        found = found.get(part, "") if isinstance(found, dict) else ""
    return VALUES.get(path, "") if found == "" else str(found).lower() if isinstance(found, bool) else str(found)


@pytest.mark.parametrize("kind", SAMPLES)
async def test_a_kind_is_selected_by_its_fields(api: Api, kind: str) -> None:
    sample = SAMPLES[kind]
    collection = sample.path.replace("NS", "default")
    body = orjson.loads(orjson.dumps(sample.body).replace(b'"NS"', b'"default"'))
    labels = {"turn": "fields"}
    made = await api.create(collection, body | {"metadata": {"name": sample.name, "labels": labels}})
    assert made.code == 201, made.body

    async def names(selector: str) -> list[str]:
        found = await api.get(f"{collection}?labelSelector=turn%3Dfields&fieldSelector={quote(selector)}")
        assert found.code == 200, found.body
        return [one["metadata"]["name"] for one in found.body["items"]]

    fields = ("metadata.name", *(["metadata.namespace"] if "/namespaces/" in collection else []))
    for field in (*fields, *SELECTABLE.get(kind, ())):
        value = value_of(made.body, field)
        assert await names(f"{field}={value}") == [sample.name], field
        assert await names(f"{field}!={value}") == [], field
        assert await names(f"{field}=other") == [], field
    refused = await api.get(f"{collection}?fieldSelector=spec.none%3Dx")
    assert refused.code == 400
    expected = (
        "field label not supported: spec.none" if kind in SELECTABLE
        else '"spec.none" is not a known field selector: only "metadata.name", "metadata.namespace"'
    )  # fmt: skip
    assert refused.body["message"] == expected


async def test_selectors_of_fields_and_labels_are_joined_in_lists_watches_and_deletions(api: Api) -> None:
    for name, node in (("a", "n1"), ("b", "n1"), ("c", "n2")):
        await api.create(PODS, pod(name, nodeName=node))
    query = "fieldSelector=spec.nodeName%3Dn1,metadata.name!%3Da&labelSelector=app+in+(a,b,c)"
    assert [one["metadata"]["name"] for one in (await api.get(f"{PODS}?{query}")).body["items"]] == ["b"]
    async with api.watch(PODS, f"{query}&timeoutSeconds=2") as events:
        assert await events.take(1) == [("ADDED", "b")]
        await api.delete(f"{PODS}?{query}&gracePeriodSeconds=0")
        assert (await events.take(1))[0] == ("DELETED", "b")
    left = (await api.get(PODS)).body["items"]
    assert [one["metadata"]["name"] for one in left if "deletionTimestamp" not in one["metadata"]] == ["a", "c"]
