"""Controllers find custom objects by discovery: owners take dependents with them, namespaces are emptied of them."""

from __future__ import annotations

import json

import yaml
from tests.conformance.cluster import Kubectl

DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %(plural)s.%(group)s}
spec:
  group: %(group)s
  names: {kind: %(kind)s, plural: %(plural)s}
  scope: %(scope)s
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""


def define(kubectl: Kubectl, kind: str, scope: str = "Namespaced") -> str:
    """The group of a new definition, which no other test uses."""
    group = f"{kubectl.namespace}.owners.example"
    plural = f"{kind.lower()}s"
    kubectl("apply", "-f", "-", stdin=DEFINITION % {"group": group, "kind": kind, "plural": plural, "scope": scope})
    kubectl("wait", "--for=condition=Established", f"crd/{plural}.{group}", "--timeout=20s")
    return group


def made(kubectl: Kubectl, body: dict[str, object]) -> dict[str, str]:
    """A reference to an object that is created here."""
    text = kubectl("create", "-o", "json", "-f", "-", stdin=yaml.safe_dump(body))
    found = json.loads(text)
    return {
        "apiVersion": found["apiVersion"], "kind": found["kind"], "name": found["metadata"]["name"],
        "uid": found["metadata"]["uid"],
    }  # fmt: skip


def test_dependents_go_with_their_custom_owner_and_custom_ones_with_any(any_kubectl: Kubectl) -> None:
    kubectl = any_kubectl
    group = define(kubectl, "Owner")
    owner = made(kubectl, {"apiVersion": f"{group}/v1", "kind": "Owner", "metadata": {"name": "o"}})
    below = made(kubectl, {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "below", "ownerReferences": [owner]},
    })  # fmt: skip
    made(kubectl, {
        "apiVersion": f"{group}/v1", "kind": "Owner", "metadata": {"name": "last", "ownerReferences": [below]},
    })  # fmt: skip
    kubectl("delete", f"owners.{group}", "o")
    kubectl.eventually("", "get", "configmap", "below", "--ignore-not-found", "-o", "name")
    kubectl.eventually("", "get", f"owners.{group}", "--ignore-not-found", "-o", "name")


def test_a_custom_owner_waits_for_dependents_that_block_it(any_kubectl: Kubectl) -> None:
    kubectl = any_kubectl
    group = define(kubectl, "Owner")
    owner = made(kubectl, {"apiVersion": f"{group}/v1", "kind": "Owner", "metadata": {"name": "o"}})
    body = {
        "apiVersion": f"{group}/v1", "kind": "Owner",
        "metadata": {
            "name": "child", "finalizers": ["owners.example/hold"],
            "ownerReferences": [owner | {"blockOwnerDeletion": True}],
        },
    }  # fmt: skip
    made(kubectl, body)
    kubectl("delete", f"owners.{group}", "o", "--cascade=foreground", "--wait=false")
    leaving = "go-template={{if .metadata.deletionTimestamp}}true{{end}}"
    kubectl.eventually("true", "get", f"owners.{group}", "child", "-o", leaving)
    assert kubectl("get", f"owners.{group}", "o", "-o", "name"), "it waits"
    kubectl("patch", f"owners.{group}", "child", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    kubectl.eventually("", "get", f"owners.{group}", "--ignore-not-found", "-o", "name")


def test_a_namespace_that_is_deleted_takes_its_custom_objects_with_it(any_kubectl: Kubectl) -> None:
    kubectl = any_kubectl
    group = define(kubectl, "Owner")
    doomed = f"{kubectl.namespace}-doomed"
    kubectl("create", "namespace", doomed)
    body = yaml.safe_dump({"apiVersion": f"{group}/v1", "kind": "Owner", "metadata": {"name": "o"}})
    kubectl("create", "--namespace", doomed, "-f", "-", stdin=body)
    kubectl("delete", "namespace", doomed, "--timeout=30s")
    kubectl("create", "namespace", doomed)
    assert kubectl("get", f"owners.{group}", "--all-namespaces", "-o", "name") == ""


def test_deleting_a_definition_with_many_objects_leaves_nothing(any_kubectl: Kubectl) -> None:
    kubectl = any_kubectl
    group = define(kubectl, "Owner")
    bodies = [{"apiVersion": f"{group}/v1", "kind": "Owner", "metadata": {"name": f"o{n}"}} for n in range(120)]
    kubectl("create", "-f", "-", stdin=yaml.safe_dump_all(bodies))
    kubectl("delete", "crd", f"owners.{group}", "--timeout=30s")
    assert "the server doesn't have a resource type" in kubectl.fails("get", f"owners.{group}")
    define(kubectl, "Owner")
    assert kubectl("get", f"owners.{group}", "-o", "name") == ""
