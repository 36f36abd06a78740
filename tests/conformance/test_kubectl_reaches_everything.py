"""kubectl where it asks for more than objects: who may do what, certificates, subresources, raw paths, descriptions."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.apiserver.every_kind import SAMPLES, certificate_request
from tests.conformance.cluster import Kubectl

from kontinuum.api.kubernetes.kinds import KINDS
from kontinuum.api.kubernetes.resources import EVENTS_V1

pytestmark = pytest.mark.every_store

LAST = {"limitranges", "resourcequotas"}
"""Made after the pods that they would refuse."""
# These descriptions are made by kubectl from a version of the API that is not stable, which we do not serve.
NOT_DESCRIBED = {"volumeattributesclasses.storage.k8s.io"}


def test_who_may_do_what_is_asked_and_answered(kubectl: Kubectl) -> None:
    assert kubectl("auth", "can-i", "create", "pods") == "yes\n"
    assert kubectl.exits("auth", "can-i", "create", "pods", "--as=nobody") == (1, "no\n")
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods")
    kubectl("create", "rolebinding", "reader", "--role=reader", "--user=somebody")
    assert kubectl("auth", "can-i", "list", "pods", "--as=somebody") == "yes\n"
    assert kubectl.exits("auth", "can-i", "list", "secrets", "--as=somebody") == (1, "no\n")
    table = kubectl("auth", "can-i", "--list", "--as=somebody")
    assert "pods" in table and "selfsubjectaccessreviews.authorization.k8s.io" in table
    assert "forbidden" in kubectl.fails("get", "secrets", "--as=somebody")


def test_roles_are_reconciled(kubectl: Kubectl) -> None:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "kept", "namespace": kubectl.namespace},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    }  # fmt: skip
    kubectl("auth", "reconcile", "-f", "-", stdin=json.dumps(role))
    role["rules"][0]["verbs"] = ["list"]
    kubectl("auth", "reconcile", "-f", "-", stdin=json.dumps(role))
    rules = json.loads(kubectl("get", "role", "kept", "-o", "json"))["rules"]
    assert {verb for rule in rules for verb in rule["verbs"]} == {"get", "list"}


def test_i_am_told_who_i_am(any_kubectl: Kubectl) -> None:
    told = any_kubectl("auth", "whoami")
    assert "kubernetes-admin" in told and "system:masters" in told
    assert "nobody" in any_kubectl("auth", "whoami", "--as=nobody")


def test_a_certificate_is_approved_and_another_denied(kubectl: Kubectl) -> None:
    for name, decision, shown in (("yes", "approve", "Approved"), ("no", "deny", "Denied")):
        name = f"{kubectl.namespace}-{kubectl.minor}-{name}"
        request = {
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
            "spec": {
                "request": certificate_request(), "signerName": "example.com/signer", "usages": ["client auth"],
            },
        }  # fmt: skip
        kubectl("create", "-f", "-", stdin=json.dumps(request))
        assert "Pending" in kubectl("get", "csr", name)
        kubectl("certificate", decision, name)
        assert shown in kubectl("get", "csr", name)
        assert "Subject:" in kubectl("describe", "csr", name)


def test_raw_paths_are_answered(kubectl: Kubectl) -> None:
    assert json.loads(kubectl("get", "--raw", "/version"))["major"] == "1"
    assert kubectl("get", "--raw", "/readyz") == "ok"
    assert "[+]ping ok" in kubectl("get", "--raw", "/livez?verbose")
    pods = f"/api/v1/namespaces/{kubectl.namespace}/pods"
    assert json.loads(kubectl("get", "--raw", f"{pods}?limit=1"))["kind"] == "PodList"
    assert "openapi" in json.loads(kubectl("get", "--raw", "/openapi/v3/apis/apps/v1"))
    assert "NotFound" in kubectl.fails("get", "--raw", f"{pods}/none")
    body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "raw"}}
    path = f"/api/v1/namespaces/{kubectl.namespace}/configmaps"
    kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))
    assert json.loads(kubectl("delete", "--raw", f"{path}/raw"))["status"] == "Success"


def test_subresources_are_shown_and_changed(any_kubectl: Kubectl) -> None:
    any_kubectl("create", "deployment", "web", "--image=nginx:1", "--replicas=1")
    header, row = any_kubectl("get", "deployment", "web", "--subresource=scale").splitlines()
    assert header.split() == ["NAME", "DESIRED", "AVAILABLE", "AGE"] and row.split()[:2] == ["web", "1"]
    any_kubectl("patch", "deployment", "web", "--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":2}}')
    assert any_kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "2"
    change = '{"status":{"collisionCount":3}}'
    any_kubectl("patch", "deployment", "web", "--subresource=status", "--type=merge", "-p", change)
    assert "web" in any_kubectl("get", "deployment", "web", "--subresource=status")


def test_a_pod_is_debugged_and_resized(any_kubectl: Kubectl) -> None:
    any_kubectl("run", "web", "--image=nginx:1")
    any_kubectl("debug", "web", "--image=busybox:1", "--container=look", "--", "sh")
    assert any_kubectl("get", "pod", "web", "-o", "jsonpath={.spec.ephemeralContainers[*].name}") == "look"
    any_kubectl("debug", "web", "--copy-to=copy", "--image=busybox:1", "--container=look", "--", "sh")
    assert any_kubectl("get", "pod", "copy", "-o", "jsonpath={.spec.containers[*].name}") == "web look"
    any_kubectl("create", "-f", "-", stdin=json.dumps(SIZED))
    change = '{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"200m"}}}]}}'
    any_kubectl("patch", "pod", "sized", "--subresource=resize", "-p", change)
    path = "jsonpath={.spec.containers[0].resources.requests.cpu}"
    assert any_kubectl("get", "pod", "sized", "-o", path) == "200m"


SIZED = {
    "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "sized"},
    "spec": {"containers": [{"name": "c", "image": "nginx:1", "resources": {"requests": {"cpu": "100m"}}}]},
}  # fmt: skip


@pytest.mark.parametrize("family", sorted({name.partition(".")[2] for name in SAMPLES}), ids=lambda one: one or "core")
def test_every_kind_is_described(any_kubectl: Kubectl, family: str) -> None:
    newest = {resource.qualified: resource for resource in reversed(KINDS) if not resource.stored_as}
    newest["events.events.k8s.io"] = EVENTS_V1
    mine = sorted((name for name in SAMPLES if name.partition(".")[2] == family), key=LAST.__contains__)
    manifests = []
    for name in mine:
        resource, sample = newest[name], SAMPLES[name]
        head = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": sample.name}}
        text = json.dumps(sample.body).replace('"NS"', json.dumps(any_kubectl.namespace))
        manifests.append(head | json.loads(text))
    named = [f"{name}/{SAMPLES[name].name}" for name in mine]
    try:
        any_kubectl("create", "-f", "-", stdin="\n---\n".join(map(json.dumps, manifests)))
        described = [one for one in named if one.partition("/")[0] not in NOT_DESCRIBED]
        told = any_kubectl("describe", *described)
        assert re.findall(r"^Name: +(\S+)$", told, re.MULTILINE) == [one.partition("/")[2] for one in described]
        assert len(any_kubectl("get", *named, "--output=name").splitlines()) == len(named)
        assert any_kubectl("get", *named, "--output=wide", "--no-headers")
    finally:
        any_kubectl.exits("delete", *named, "--wait=false", "--ignore-not-found")


def test_kubectl_caches_no_more_than_it_is_told(any_kubectl: Kubectl, home: Path) -> None:
    """Discovery is kept on disk under the ETag that it came with, and asked for again under it."""
    first = any_kubectl("api-resources", "--no-headers", "--output=name")
    assert any_kubectl("api-resources", "--no-headers", "--output=name", "--cached=true") == first
    assert list((home / ".kube" / "cache").rglob("*"))
