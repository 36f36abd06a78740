"""Real kubectl programs, old and new, find what they know from any Kubernetes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conformance.cluster import Cluster, Kubectl
from tests.kubectls import kubectl_parameters

pytestmark = pytest.mark.every_store

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: "nginx:1", ports: [{containerPort: 80}], resources: {requests: {cpu: 500m}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: b}
"""
REVISION = r"{.metadata.annotations.deployment\.kubernetes\.io/revision}"


@pytest.fixture(params=kubectl_parameters("basics"))
def kubectl(request: pytest.FixtureRequest, cluster: Cluster, home: Path, namespace: str) -> Kubectl:
    """Old and new, the ancient one too, in ``namespace``."""
    return Kubectl(request.param, cluster, home, namespace)


@pytest.fixture(params=kubectl_parameters("little"))
def every_kubectl(request: pytest.FixtureRequest, cluster: Cluster, home: Path, namespace: str) -> Kubectl:
    """Each kubectl that there is, in ``namespace``."""
    return Kubectl(request.param, cluster, home, namespace)


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_everything_served_is_discovered(kubectl: Kubectl) -> None:
    found = {line[0] for line in lines(kubectl("api-resources", "--no-headers", "--output=name"))}
    assert {"pods", "nodes", "deployments.apps", "leases.coordination.k8s.io", "runtimeclasses.node.k8s.io"} <= found
    assert {line[0] for line in lines(kubectl("api-versions"))} >= {"v1", "apps/v1"}
    assert json.loads(kubectl("version", "--output=json"))["serverVersion"]["minor"] == "36"


def test_fields_are_explained_in_kubernetes_words(kubectl: Kubectl) -> None:
    text = kubectl("explain", "pod.spec.containers.livenessProbe.httpGet.port")
    assert "Number must be in the range 1 to 65535" in " ".join(text.split())
    assert "rollingUpdate" in kubectl("explain", "deployment.spec.strategy", "--recursive")


def test_a_manifest_is_applied_changed_and_deleted(every_kubectl: Kubectl) -> None:
    kubectl = every_kubectl
    assert kubectl("apply", "-f", "-", stdin=DEPLOYMENT).split("\n")[:2] == [
        "deployment.apps/web created",
        "configmap/settings created",
    ]
    assert kubectl("apply", "-f", "-", stdin=DEPLOYMENT).split("\n")[:2] == [
        "deployment.apps/web unchanged",
        "configmap/settings unchanged",
    ]
    changed = DEPLOYMENT.replace("nginx:1", "nginx:2").replace("ports: [{containerPort: 80}], ", "")
    assert "deployment.apps/web configured" in kubectl("apply", "-f", "-", stdin=changed)
    container = json.loads(kubectl("get", "deployment", "web", "--output=json"))["spec"]["template"]["spec"][
        "containers"
    ][0]
    assert (container["image"], "ports" in container) == ("nginx:2", False)
    kubectl("delete", "-f", "-", stdin=changed)
    assert "NotFound" in kubectl.fails("get", "deployment", "web")


def test_kubectls_own_makers_send_protobuf_and_are_understood(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "c", "--from-literal=key=value")
    kubectl("create", "secret", "generic", "s", "--from-literal=key=value")
    kubectl("create", "serviceaccount", "a")
    kubectl("create", "deployment", "d", "--image=nginx", "--replicas=0", "--port=80")
    kubectl("create", "service", "clusterip", "v", "--tcp=80:8080")
    path = "jsonpath={.data.key}"
    assert (kubectl("get", "configmap", "c", "-o", path), kubectl("get", "secret", "s", "-o", path)) == (
        "value",
        "dmFsdWU=",
    )
    assert kubectl("get", "deployment", "d", "-o", "jsonpath={.spec.replicas}") == "0"
    assert kubectl("get", "service", "v", "-o", "jsonpath={.spec.ports[0].targetPort}") == "8080"


def test_a_pod_is_run_shown_labelled_and_deleted(kubectl: Kubectl) -> None:
    kubectl("run", "p", "--image=nginx", "--restart=Never", "--labels=app=p", "--", "sleep", "1")
    header, row = lines(kubectl("get", "pods", "--output=wide"))
    assert header[:6] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP"]
    assert row[:4] == ["p", "0/1", "Pending", "0"]
    kubectl("label", "pod", "p", "tier=front")
    kubectl("annotate", "pod", "p", "note=hello")
    assert lines(kubectl("get", "pods", "-l", "tier in (front),app", "--no-headers"))[0][0] == "p"
    assert kubectl("get", "pods", "--field-selector=status.phase=Running", "--output=name") == ""
    described = " ".join(kubectl("describe", "pod", "p").split())
    assert [word for word in ("Status: Pending", "note: hello", "sleep", "QoS Class:") if word not in described] == []
    kubectl("delete", "pod", "p")
    assert kubectl("get", "pods", "--output=name") == ""


def test_deployments_are_scaled_patched_and_rolled(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    kubectl.eventually("2", "get", "deployment", "web", "-o", "jsonpath={.status.replicas}")
    kubectl("scale", "deployment", "web", "--replicas=3")
    kubectl("patch", "deployment", "web", "-p", '{"spec":{"minReadySeconds":1}}')
    kubectl("patch", "deployment", "web", "--type=merge", "-p", '{"spec":{"paused":false}}')
    operation = '[{"op":"replace","path":"/spec/replicas","value":1}]'
    kubectl("patch", "deployment", "web", "--type=json", "-p", operation)
    kubectl("set", "image", "deployment/web", "main=nginx:3")
    kubectl("annotate", "deployment", "web", "kubernetes.io/change-cause=a newer image")
    kubectl.eventually("2", "get", "deployment", "web", "-o", f"jsonpath={REVISION}")
    spec = json.loads(kubectl("get", "deployment", "web", "--output=json"))["spec"]
    assert (spec["replicas"], spec["minReadySeconds"]) == (1, 1)
    assert len(spec["template"]["spec"]["containers"]) == 1
    history = kubectl("rollout", "history", "deployment", "web")
    assert [line[0] for line in lines(history)[2:] if line] == ["1", "2"]
    kubectl("rollout", "undo", "deployment", "web")
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={..image}") == "nginx:1"
    assert "web" in kubectl("get", "all", "--output=name")
    assert "NewReplicaSet:" in kubectl("describe", "deployment", "web")


def test_a_daemon_set_is_not_rolled_back_to_what_it_is(any_kubectl: Kubectl) -> None:
    """kubectl compares a revision's text with what it would write itself, byte by byte."""
    kubectl = any_kubectl
    kubectl(
        "apply", "-f", "-", stdin=DEPLOYMENT.replace("kind: Deployment", "kind: DaemonSet").replace("replicas: 2", "")
    )
    kubectl.eventually("1", "get", "controllerrevisions", "-o", "jsonpath={.items[*].revision}")
    assert "skipped rollback" in kubectl("rollout", "undo", "daemonset", "web", "--to-revision=1")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("replicas: 2", "replicas: two"),
         "cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field "
         "DeploymentSpec.spec.replicas of type int32"),
        (("{app: web}}\n  template", "{app: db}}\n  template"),
         '`selector` does not match template `labels`'),
        (("cpu: 500m", "cpu: lots"), "quantities must match the regular expression"),
        (("name: main", "name: Main"), 'spec.template.spec.containers[0].name: Invalid value: "Main"'),
    ],
    ids=["type", "selector", "quantity", "name"],
)  # fmt: skip
def test_mistakes_are_explained(kubectl: Kubectl, change: tuple[str, str], words: str) -> None:
    mistaken = DEPLOYMENT.replace(*change)
    assert mistaken != DEPLOYMENT
    # Old clients would rather find the mistake themselves, by the OpenAPI document.
    assert words in kubectl.fails("create", "--validate=false", "-f", "-", stdin=mistaken)


def test_unknown_fields_are_refused_or_warned_about_as_the_client_asks(kubectl: Kubectl) -> None:
    mistaken = DEPLOYMENT.replace("replicas: 2", "replicaz: 2")
    refusal = 'strict decoding error: unknown field "spec.replicaz"' if kubectl.minor >= 25 else 'field "replicaz"'
    assert refusal in kubectl.fails("create", "-f", "-", stdin=mistaken)
    lenient = "--validate=warn" if kubectl.minor >= 25 else "--validate=false"
    kubectl("delete", "configmap", "settings", "--ignore-not-found")
    said = kubectl.warns("create", lenient, "-f", "-", stdin=mistaken)
    assert 'unknown field "spec.replicaz"' in said
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "1"


def test_a_server_side_dry_run_answers_and_stores_nothing(kubectl: Kubectl) -> None:
    deployment = DEPLOYMENT.partition("---")[0]
    made = json.loads(kubectl("create", "--dry-run=server", "--output=json", "-f", "-", stdin=deployment))
    assert made["spec"]["strategy"]["type"] == "RollingUpdate"
    assert kubectl("get", "deployments", "--output=name") == ""


def test_what_is_not_there_is_said_as_kubernetes_says_it(kubectl: Kubectl) -> None:
    assert kubectl.fails("get", "pod", "x") == 'Error from server (NotFound): pods "x" not found\n'
    assert kubectl.fails("get", "unicorns") == 'error: the server doesn\'t have a resource type "unicorns"\n'
    assert "No resources found" in kubectl.warns("get", "pods")
    kubectl("create", "configmap", "c")
    assert kubectl.fails("create", "configmap", "c").endswith('configmaps "c" already exists\n')


def test_a_namespace_takes_its_content_along(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    kubectl("delete", "namespace", kubectl.namespace, "--timeout=40s")
    assert "NotFound" in kubectl.fails("get", "namespace", kubectl.namespace)
    assert kubectl("get", "deployments,configmaps", "--output=name") == ""
