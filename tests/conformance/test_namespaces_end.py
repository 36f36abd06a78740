"""Namespaces take with them what is in them, pods first."""

from __future__ import annotations

import json

import pytest
from tests.conformance.cluster import Kubectl

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p"},
    "spec": {"containers": [{"name": "c", "image": "i"}]},
}
REMAINING = "{.status.conditions[?(@.type=='NamespaceContentRemaining')]"


@pytest.fixture
def other(any_kubectl: Kubectl) -> str:
    """The name of a second namespace, with an account for pods in it."""
    name = f"{any_kubectl.namespace}-other"
    any_kubectl("create", "namespace", name)
    any_kubectl.eventually("serviceaccount/default\n", "get", "serviceaccount", "default", "-n", name, "-o", "name")
    return name


@pytest.mark.behaviour("Namespaces should apply a finalizer to a Namespace")
def test_a_finalizer_is_added_and_removed(any_kubectl: Kubectl, other: str) -> None:
    kubectl = any_kubectl
    namespace = json.loads(kubectl("get", "namespace", other, "-o", "json"))
    path = f"/api/v1/namespaces/{other}/finalize"
    namespace["spec"]["finalizers"].append("e2e.example.com/fake")
    kubectl("replace", "--raw", path, "-f", "-", stdin=json.dumps(namespace))
    shown = kubectl("get", "namespace", other, "-o", "jsonpath={.spec.finalizers}")
    assert json.loads(shown) == ["kubernetes", "e2e.example.com/fake"]
    namespace = json.loads(kubectl("get", "namespace", other, "-o", "json"))
    namespace["spec"]["finalizers"].remove("e2e.example.com/fake")
    kubectl("replace", "--raw", path, "-f", "-", stdin=json.dumps(namespace))
    assert kubectl("get", "namespace", other, "-o", "jsonpath={.spec.finalizers}") == '["kubernetes"]'
    kubectl("delete", "namespace", other, "--timeout=30s")


@pytest.mark.behaviour("Namespaces should ensure that all pods are removed when a namespace is deleted")
@pytest.mark.behaviour("Namespaces should ensure that all services are removed when a namespace is deleted")
def test_nothing_of_a_namespace_comes_back_with_its_name(any_kubectl: Kubectl, other: str) -> None:
    kubectl = any_kubectl
    kubectl("create", "-n", other, "-f", "-", stdin=json.dumps(POD))
    kubectl("create", "-n", other, "service", "clusterip", "s", "--tcp=80:80")
    kubectl("delete", "namespace", other, "--timeout=30s")
    assert "not found" in kubectl.fails("get", "namespace", other)
    kubectl("create", "namespace", other)
    assert kubectl("get", "pods,services", "-n", other, "-o", "name") == ""
    kubectl("delete", "namespace", other, "--timeout=30s")


@pytest.mark.behaviour("OrderedNamespaceDeletion namespace deletion should delete pod first")
def test_pods_go_before_everything_else(any_kubectl: Kubectl, other: str) -> None:
    kubectl = any_kubectl
    held = {**POD, "metadata": {"name": "p", "finalizers": ["e2e.example.com/hold"]}}
    kubectl("create", "-n", other, "-f", "-", stdin=json.dumps(held))
    kubectl("create", "-n", other, "configmap", "c")
    kubectl("delete", "namespace", other, "--wait=false")
    kubectl.eventually("True", "get", "namespace", other, "-o", f"jsonpath={REMAINING}.status}}")
    told = kubectl("get", "namespace", other, "-o", f"jsonpath={REMAINING}.message}}")
    assert "configmaps. has " in told and "pods. has 1 resource instances" in told
    # The suite waits for this one, whatever it says.
    assert "NamespaceDeletionContentFailure" in kubectl(
        "get", "namespace", other, "-o", "jsonpath={.status.conditions}"
    )
    assert kubectl("get", "pod", "p", "-n", other, "-o", "jsonpath={.metadata.deletionTimestamp}")
    assert kubectl("get", "configmap", "c", "-n", other, "-o", "jsonpath={.metadata.deletionTimestamp}") == ""
    kubectl("patch", "pod", "p", "-n", other, "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    kubectl("wait", "--for=delete", f"namespace/{other}", "--timeout=30s")
