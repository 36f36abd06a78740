"""One test a family of kubectl's commands, each as a user types it, with every kubectl that is installed."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from pathlib import Path

import pytest
import yaml
from tests.conformance.cluster import Kubectl

WEB = ("create", "deployment", "web", "--image=nginx:1", "--replicas=2", "--port=80")
MAIN = "jsonpath={.spec.template.spec.containers[0]"


@pytest.mark.behaviour("Kubectl client Kubectl version should check is all data is printed")
@pytest.mark.behaviour("server version should find the server version")
def test_version_tells_both_sides(kubectl: Kubectl) -> None:
    told = json.loads(kubectl("version", "--output=json"))
    assert {"clientVersion", "serverVersion"} <= told.keys()
    assert re.fullmatch(r"v1\.36\.\d+\S*", told["serverVersion"]["gitVersion"])
    assert told["serverVersion"]["major"] == "1" and told["serverVersion"]["minor"] == "36"
    assert {"gitTreeState", "buildDate", "goVersion", "compiler", "platform"} <= told["serverVersion"].keys()
    assert re.fullmatch("[0-9a-f]{40}", told["serverVersion"]["gitCommit"])


@pytest.mark.behaviour("Kubectl client Kubectl api-versions should check if v1 is in available api versions")
def test_api_versions_and_resources_are_listed(kubectl: Kubectl) -> None:
    versions = kubectl("api-versions").split()
    assert {"v1", "apps/v1", "batch/v1", "rbac.authorization.k8s.io/v1", "storage.k8s.io/v1"} <= set(versions)
    wide = {line.split()[0] for line in kubectl("api-resources", "--output=wide", "--no-headers").splitlines()}
    assert {"pods", "cronjobs", "ingresses", "flowschemas"} <= wide
    assert "deployments" in kubectl("api-resources", "--api-group=apps", "--categories=all", "--no-headers")


@pytest.mark.behaviour(
    "Kubectl client Kubectl cluster-info should check if Kubernetes control plane services is included in cluster-info"
)
def test_cluster_info_names_the_control_plane(kubectl: Kubectl) -> None:
    assert "Kubernetes control plane" in kubectl("cluster-info") or "Kubernetes master" in kubectl("cluster-info")


@pytest.mark.behaviour("Kubectl client Kubectl label should update the label on a resource")
def test_labels_and_annotations_are_set_changed_and_removed(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "c")
    kubectl("label", "configmap", "c", "testing-label=testing-label-value")
    assert "testing-label-value" in kubectl("get", "configmap", "c", "-L", "testing-label")
    assert "already has a value" in kubectl.fails("label", "configmap", "c", "testing-label=other")
    kubectl("label", "configmap", "c", "testing-label=other", "--overwrite")
    kubectl("label", "configmap", "c", "testing-label-")
    assert "other" not in kubectl("get", "configmap", "c", "-L", "testing-label")
    kubectl("annotate", "configmap", "c", "note=x", "--resource-version=" + version_of(kubectl, "configmap/c"))
    assert kubectl("get", "configmap", "c", "-o", "jsonpath={.metadata.annotations.note}") == "x"


@pytest.mark.behaviour("Kubectl client Kubectl diff should check if kubectl diff finds a difference for Deployments")
def test_diff_shows_what_an_apply_would_change(kubectl: Kubectl) -> None:
    manifest = kubectl(*WEB, "--dry-run=client", "-o", "yaml")
    kubectl("apply", "-f", "-", stdin=manifest)
    assert kubectl("diff", "-f", "-", stdin=manifest) == ""
    code, printed = kubectl.exits("diff", "-f", "-", stdin=manifest.replace("nginx:1", "nginx:2"))
    assert code == 1
    assert "-      - image: nginx:1" in printed and "+      - image: nginx:2" in printed
    assert kubectl("get", "deployment", "web", "-o", f"{MAIN}.image}}") == "nginx:1"


@pytest.mark.behaviour("Kubectl client Kubectl server-side dry-run should check if kubectl can dry-run update Pods")
def test_a_server_side_dry_run_of_a_patch_changes_nothing(kubectl: Kubectl) -> None:
    kubectl("run", "p", "--image=nginx:1", "--labels=run=p")
    patch = '{"spec": {"containers": [{"name": "p", "image": "busybox:1"}]}}'
    shown = kubectl("patch", "pod", "p", "-p", patch, "--dry-run=server", "-o", "jsonpath={.spec.containers[0].image}")
    assert shown == "busybox:1"
    assert kubectl("get", "pod", "p", "-o", "jsonpath={.spec.containers[0].image}") == "nginx:1"
    kubectl("delete", "pod", "p", "--now")


def test_edit_sends_what_the_editor_leaves(kubectl: Kubectl, home: Path) -> None:
    kubectl("create", "configmap", "c", "--from-literal=a=1")
    editor = home / "editor"
    editor.write_text('#!/bin/sh\nsed -i \'s/a: "1"/a: "2"/\' "$1"\n')
    editor.chmod(0o755)
    assert "configmap/c edited" in kubectl("edit", "configmap", "c", KUBE_EDITOR=str(editor))
    assert kubectl("get", "configmap", "c", "-o", "jsonpath={.data.a}") == "2"


def test_a_deployment_is_exposed_set_and_rolled(kubectl: Kubectl) -> None:
    kubectl(*WEB)
    kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080")
    assert (
        kubectl("get", "service", "web", "-o", "jsonpath={.spec.selector.app} {.spec.ports[0].targetPort}")
        == "web 8080"
    )
    assert re.fullmatch(r"\d+(\.\d+){3}", kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"))
    kubectl("set", "env", "deployment/web", "MODE=fast")
    kubectl("set", "resources", "deployment/web", "--limits=cpu=200m,memory=64Mi", "--requests=cpu=100m")
    kubectl("set", "serviceaccount", "deployment/web", "default")
    container = json.loads(kubectl("get", "deployment", "web", "-o", "json"))["spec"]["template"]["spec"]["containers"][
        0
    ]
    assert container["env"] == [{"name": "MODE", "value": "fast"}]
    assert container["resources"] == {"limits": {"cpu": "200m", "memory": "64Mi"}, "requests": {"cpu": "100m"}}
    kubectl("set", "selector", "service", "web", "app=other")
    assert kubectl("get", "service", "web", "-o", "jsonpath={.spec.selector}") == '{"app":"other"}'
    kubectl("rollout", "pause", "deployment/web")
    assert "paused" in kubectl.fails("rollout", "restart", "deployment/web")
    kubectl("rollout", "resume", "deployment/web")
    kubectl("rollout", "restart", "deployment/web")
    annotation = r"jsonpath={.spec.template.metadata.annotations.kubectl\.kubernetes\.io/restartedAt}"
    assert kubectl("get", "deployment", "web", "-o", annotation)
    kubectl("autoscale", "deployment", "web", "--min=1", "--max=3", "--cpu-percent=70")
    assert kubectl("get", "hpa", "web", "-o", "jsonpath={.spec.maxReplicas}") == "3"


@pytest.mark.usefixtures("hollow")
def test_rollout_status_and_wait_return_when_it_is_so(kubectl: Kubectl) -> None:
    kubectl(*WEB)
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=30s")
    kubectl("wait", "--for=condition=Ready", "pod", "-l", "app=web", "--timeout=30s")
    kubectl("delete", "deployment", "web", "--wait=false")
    kubectl("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=30s")
    assert "timed out" in kubectl.fails("wait", "--for=condition=Never", "serviceaccount/default", "--timeout=1s")


def test_everything_that_create_can_make_is_made(kubectl: Kubectl) -> None:
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods,deployments.apps")
    kubectl("create", "rolebinding", "readers", "--role=reader", "--user=ann", "--serviceaccount=default:default")
    kubectl("create", "clusterrole", kubectl.namespace, "--verb=get", "--non-resource-url=/logs/*")
    kubectl("create", "clusterrolebinding", kubectl.namespace, f"--clusterrole={kubectl.namespace}", "--group=x")
    kubectl("create", "quota", "small", "--hard=configmaps=90,cpu=4")
    kubectl("create", "poddisruptionbudget", "few", "--selector=app=web", "--min-available=1")
    kubectl("create", "priorityclass", kubectl.namespace, "--value=7", "--description=seven")
    kubectl("create", "ingress", "web", "--rule=web.example/=web:80", "--class=any")
    kubectl("create", "job", "once", "--image=busybox", "--", "true")
    kubectl("create", "cronjob", "often", "--image=busybox", "--schedule=0 3 1 1 *", "--", "true")
    kubectl("create", "job", "now", "--from=cronjob/often")
    kubectl("create", "secret", "docker-registry", "pull", "--docker-username=a", "--docker-password=b")
    kubectl("create", "service", "nodeport", "open", "--tcp=80:80")
    kubectl("create", "service", "externalname", "away", "--external-name=example.org")
    kinds = "role,rolebinding,quota,pdb,ingress,job,cronjob,secret,service"
    made = set(kubectl("get", kinds, "-o", "name").split())
    assert {"role.rbac.authorization.k8s.io/reader", "job.batch/now", "resourcequota/small"} <= made
    port = kubectl("get", "service", "open", "-o", "jsonpath={.spec.ports[0].nodePort}")
    assert 30000 <= int(port) <= 32767
    for kind in kinds.split(","):
        assert kubectl("describe", kind), kind
    kubectl("delete", "clusterrole,clusterrolebinding,priorityclass", kubectl.namespace)


def test_objects_are_shown_in_every_form(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "c", "--from-literal=a=1", "--from-literal=b=2")
    assert yaml.safe_load(kubectl("get", "configmap", "c", "-o", "yaml"))["data"] == {"a": "1", "b": "2"}
    assert kubectl("get", "configmap", "c", "-o", "go-template={{.data.a}}") == "1"
    columns = kubectl(
        "get", "configmaps", "-o", "custom-columns=N:.metadata.name,A:.data.a", "--field-selector=metadata.name=c"
    )
    assert [line.split() for line in columns.splitlines()] == [["N", "A"], ["c", "1"]]
    assert kubectl("get", "configmap/c", "secret/none", "-o", "name", "--ignore-not-found") == "configmap/c\n"
    everywhere = kubectl("get", "configmaps", "-A", "--sort-by=.metadata.creationTimestamp", "--no-headers")
    assert any(line.split()[:2] == [kubectl.namespace, "c"] for line in everywhere.splitlines())
    assert json.loads(kubectl("get", "--raw", "/api/v1/namespaces/default"))["kind"] == "Namespace"
    assert kubectl("get", "--raw", "/readyz") == "ok"


def test_replace_needs_the_object_and_force_makes_it_anew(kubectl: Kubectl) -> None:
    manifest = kubectl("create", "configmap", "c", "--from-literal=a=1", "--dry-run=client", "-o", "yaml")
    assert "NotFound" in kubectl.fails("replace", "-f", "-", stdin=manifest)
    kubectl("create", "-f", "-", stdin=manifest)
    before = kubectl("get", "configmap", "c", "-o", "jsonpath={.metadata.uid}")
    kubectl("replace", "-f", "-", stdin=manifest.replace('"1"', '"2"'))
    assert kubectl("get", "configmap", "c", "-o", "jsonpath={.metadata.uid} {.data.a}") == f"{before} 2"
    kubectl("replace", "--force", "-f", "-", stdin=manifest)
    assert kubectl("get", "configmap", "c", "-o", "jsonpath={.metadata.uid}") != before


def test_delete_takes_selectors_all_and_owners(kubectl: Kubectl) -> None:
    for name in ("a", "b", "c"):
        kubectl("create", "configmap", name)
    kubectl("label", "configmap", "a", "b", "go=away")
    kubectl("delete", "configmap", "-l", "go=away")
    assert (
        kubectl("get", "configmaps", "-o", "name", "--field-selector=metadata.name!=kube-root-ca.crt")
        == "configmap/c\n"
    )
    kubectl("delete", "configmap", "--all")
    kubectl(*WEB)
    kubectl.eventually("1", "get", "rs", "-o", "jsonpath={.items[0].status.observedGeneration}")
    kubectl("delete", "deployment", "web", "--cascade=orphan")
    assert len(kubectl("get", "rs", "-o", "name").split()) == 1
    kubectl("delete", "rs", "--all", "--cascade=foreground", "--timeout=30s")
    kubectl.eventually("", "get", "pods", "-o", "name")


def test_kustomize_is_applied(kubectl: Kubectl, home: Path) -> None:
    directory = home / f"kustomize-{kubectl.namespace}"
    directory.mkdir()
    (directory / "base.yaml").write_text("{apiVersion: v1, kind: ConfigMap, metadata: {name: base}, data: {a: one}}")
    (directory / "kustomization.yaml").write_text(
        "resources: [base.yaml]\nnamePrefix: my-\nconfigMapGenerator: [{name: made, literals: [x=y]}]\n"
    )
    assert "my-base" in kubectl("kustomize", str(directory))
    kubectl("apply", "-k", str(directory))
    assert kubectl("get", "configmap", "my-base", "-o", "jsonpath={.data.a}") == "one"
    kubectl("delete", "-k", str(directory))


def test_a_watch_prints_changes_as_they_come(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "c")
    with kubectl.running("get", "configmap", "c", "--watch", "-o", "jsonpath={.data.a},") as watching:
        assert watching.stdout
        assert watching.stdout.read(1) == ","
        kubectl("patch", "configmap", "c", "-p", '{"data": {"a": "new"}}')
        assert watching.stdout.read(4) == "new,"


def test_events_are_listed(kubectl: Kubectl) -> None:
    kubectl(*WEB)
    kubectl.eventually(
        "ScalingReplicaSet", "get", "events", "-o", "jsonpath={.items[?(@.involvedObject.kind=='Deployment')].reason}"
    )
    if kubectl.minor >= 26:
        assert "Scaled up replica set" in kubectl("events", "--for=deployment/web")
    assert "ScalingReplicaSet" in kubectl("describe", "deployment", "web")


def test_nodes_are_tainted_cordoned_and_drained(kubectl: Kubectl) -> None:
    name = f"node-{kubectl.namespace}"
    kubectl("create", "-f", "-", stdin=f"apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}")
    kubectl("taint", "node", name, "colour=red:NoSchedule")
    assert "colour" in kubectl("get", "node", name, "-o", "jsonpath={.spec.taints[*].key}")
    kubectl("taint", "node", name, "colour-")
    kubectl("cordon", name)
    assert "SchedulingDisabled" in kubectl("get", "node", name)
    overrides = json.dumps({"apiVersion": "v1", "spec": {"nodeName": name}})
    kubectl("run", "lonely", "--image=nginx:1", f"--overrides={overrides}")
    assert "declare no controller" in kubectl.fails("drain", name, "--timeout=5s")
    kubectl("uncordon", name)
    kubectl("delete", "pod", "lonely", "--force", "--grace-period=0")
    kubectl("drain", name, "--timeout=20s")
    kubectl("delete", "node", name)


@pytest.mark.behaviour("Kubectl client Proxy server should support --unix-socket=/path")
def test_the_proxy_serves_on_a_socket(kubectl: Kubectl, tmp_path: Path) -> None:
    socket = tmp_path / "proxy"
    with kubectl.running("proxy", f"--unix-socket={socket}") as proxy:
        assert proxy.stdout and "Starting to serve" in proxy.stdout.readline()
        asked = ["curl", "--silent", "--unix-socket", str(socket), "http://localhost/api/"]
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True)
    assert json.loads(answer.stdout)["versions"] == ["v1"]


@pytest.mark.behaviour("Kubectl client Proxy server should support proxy with --port 0")
def test_the_proxy_finds_a_port(kubectl: Kubectl) -> None:
    with kubectl.running("proxy", "--port=0", "--disable-filter") as proxy:
        assert proxy.stdout
        found = re.search(r"127\.0\.0\.1:(\d+)", proxy.stdout.readline())
        assert found
        with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/api/", timeout=20) as answer:
            assert json.load(answer)["versions"] == ["v1"]


def version_of(kubectl: Kubectl, name: str) -> str:
    return kubectl("get", name, "-o", "jsonpath={.metadata.resourceVersion}")
