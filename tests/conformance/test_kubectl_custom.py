"""Real kubectl programs work with custom resources as with any other: validate, explain, print, scale, wait."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from tests.conformance.cluster import Kubectl

NAMES = {"kind": "TestCrd", "plural": "testcrds", "singular": "testcrd"}
BARS = {
    "description": "List of Bars and their specs.",
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"description": "Name of Bar.", "type": "string"},
            "age": {"description": "Age of Bar.", "type": "string"},
            "feeling": {"description": "Whether Bar is feeling great.", "type": "string", "enum": ["Great", "Down"]},
            "bazs": {"description": "List of Bazs.", "type": "array", "items": {"type": "string"}},
        },
    },
}
VALIDATING: dict[str, Any] = {
    "description": "Foo CRD for Testing",
    "type": "object",
    "properties": {
        "spec": {
            "description": "Specification of Foo", "type": "object",
            "properties": {"bars": BARS, "replicas": {"type": "integer"}},
        },
        "status": {
            "description": "Status of Foo", "type": "object",
            "properties": {"replicas": {"type": "integer"}, "ready": {"type": "boolean"}},
        },
    },
}  # fmt: skip
KEEPS_ALL = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
KEEPS_BELOW = {
    "description": "preserve-unknown-properties in nested field for Testing",
    "type": "object",
    "properties": {"spec": {"description": "Specification of Waldo", **KEEPS_ALL, "properties": {"dummy": KEEPS_ALL}}},
}


@pytest.fixture
def define(any_kubectl: Kubectl) -> Any:
    """Makes a definition, each test's in a group of its own; answers the group."""

    def make(openapi: dict[str, Any], **version: Any) -> str:
        group = f"{any_kubectl.namespace}.example.com"
        versions = [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": openapi}, **version},
        ]
        body = {
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": f"testcrds.{group}"},
            "spec": {"group": group, "scope": "Namespaced", "names": NAMES, "versions": versions},
        }  # fmt: skip
        any_kubectl("apply", "-f", "-", stdin=yaml.safe_dump(body))
        any_kubectl("wait", "--for=condition=Established", f"crd/testcrds.{group}", "--timeout=20s")
        return group

    return make


def one(group: str, **fields: Any) -> str:
    return str(yaml.safe_dump({"apiVersion": f"{group}/v1", "kind": "TestCrd", "metadata": {"name": "it"}, **fields}))


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.behaviour("CustomResourcePublishOpenAPI works for CRD with validation schema")
def test_kubectl_validates_and_explains_what_a_schema_says(any_kubectl: Kubectl, define: Any) -> None:
    group = define(VALIDATING)
    good = one(group, spec={"bars": [{"name": "test-bar", "feeling": "Great"}]})
    for command in ("create", "apply"):
        any_kubectl(command, "-f", "-", stdin=good)
        any_kubectl("delete", f"testcrds.{group}", "it")
        for wrong in (
            {"unknown": True, "bars": [{"name": "a"}]},
            {"bars": [{"name": "a", "feeling": "NonExistentValue"}]},
            {"bars": [{"age": "10"}]},
        ):
            assert any_kubectl.fails(command, "--validate=true", "-f", "-", stdin=one(group, spec=wrong))
    explained = flat(any_kubectl("explain", f"testcrds.{group}"))
    for text in ("Foo CRD for Testing", "FIELDS", "apiVersion", "APIVersion defines", "Specification of Foo"):
        assert text in explained
    for path, text in (
        ("metadata", "Standard object's metadata"), ("spec", "List of Bars"), ("spec.bars", "name <string> -required-"),
        ("spec.bars.feeling", "Whether Bar is feeling great."),
    ):  # fmt: skip
        assert text in flat(any_kubectl("explain", f"testcrds.{group}.{path}"))
    assert "bazs" in any_kubectl("explain", f"testcrds.{group}.spec", "--recursive")
    assert 'field "missing" does not exist' in any_kubectl.fails("explain", f"testcrds.{group}.spec.missing")


@pytest.mark.behaviour("CustomResourcePublishOpenAPI works for CRD without validation schema")
def test_a_schema_that_says_nothing_is_explained_and_takes_anything(any_kubectl: Kubectl, define: Any) -> None:
    group = define(KEEPS_ALL)
    anything = one(group, a={"b": [{"c": "d"}]})
    any_kubectl("create", "--validate=true", "-f", "-", stdin=anything)
    any_kubectl("apply", "--validate=true", "-f", "-", stdin=anything)
    assert "DESCRIPTION: <empty>" in flat(any_kubectl("explain", f"testcrds.{group}"))


@pytest.mark.behaviour("CustomResourcePublishOpenAPI works for CRD preserving unknown fields at the schema root")
def test_unknown_fields_at_the_root_are_accepted(any_kubectl: Kubectl, define: Any) -> None:
    group = define(
        KEEPS_ALL | {"properties": {"spec": {"type": "object", "properties": {"known": {"type": "string"}}}}}
    )
    anything = one(group, other=1, spec={"known": "a"})
    for command in ("create", "apply"):
        any_kubectl(command, "--validate=true", "-f", "-", stdin=anything)
        assert any_kubectl("get", f"testcrds.{group}", "it", "-o", "jsonpath={.other}") == "1"
        any_kubectl("delete", f"testcrds.{group}", "it")
    assert "KIND: TestCrd" in flat(any_kubectl("explain", f"testcrds.{group}"))


@pytest.mark.behaviour("CustomResourcePublishOpenAPI works for CRD preserving unknown fields in an embedded object")
def test_unknown_fields_below_are_accepted(any_kubectl: Kubectl, define: Any) -> None:
    group = define(KEEPS_BELOW)
    anything = one(group, spec={"a": None, "b": [{"c": "d"}], "dummy": {"any": 1}})
    for command in ("create", "apply"):
        any_kubectl(command, "--validate=true", "-f", "-", stdin=anything)
        any_kubectl("delete", f"testcrds.{group}", "it")
    assert "preserve-unknown-properties in nested field for Testing" in any_kubectl("explain", f"testcrds.{group}")
    assert any_kubectl.fails("create", "--validate=true", "-f", "-", stdin=one(group, other=1))


@pytest.mark.behaviour("AggregatedDiscovery should support aggregated discovery interface for CRDs")
def test_a_defined_resource_is_found_by_clients_of_aggregated_discovery(any_kubectl: Kubectl, define: Any) -> None:
    group = define(VALIDATING)
    command = ("api-resources", "--output=name", "--cached=false", f"--api-group={group}")
    assert "as=APIGroupDiscoveryList" in any_kubectl.warns(*command, "-v=8"), "it did not ask for that form"
    assert any_kubectl(*command).split() == [f"testcrds.{group}"]


def test_every_kubectl_prints_scales_patches_and_deletes_them(kubectl: Kubectl, define: Any) -> None:
    columns = [{"name": "Wanted", "type": "integer", "jsonPath": ".spec.replicas"}]
    paths = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    group = define(VALIDATING, additionalPrinterColumns=columns, subresources={"status": {}, "scale": paths})
    resource = f"testcrds.{group}"
    kubectl("apply", "-f", "-", stdin=one(group, spec={"replicas": 1}))
    assert kubectl("get", resource, "--no-headers").split()[:2] == ["it", "1"]
    kubectl("scale", resource, "it", "--replicas=3")
    kubectl("patch", resource, "it", "--type=merge", "-p", '{"spec": {"bars": [{"name": "a"}]}}')
    kubectl("label", resource, "it", "a=b")
    spec = "jsonpath={.spec.replicas}{.spec.bars[0].name}{.metadata.labels.a}"
    assert kubectl("get", resource, "it", "-o", spec) == "3ab"
    assert "Spec" in kubectl("describe", resource, "it")
    kubectl("delete", resource, "--all")
    assert kubectl("get", resource, "--ignore-not-found") == ""
