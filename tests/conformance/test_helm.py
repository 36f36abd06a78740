"""Real Helm programs, 3 (its command) and 4 (its library), live a chart's life against the server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml
from tests.conformance.cluster import Cluster, Kubectl
from tests.kubectls import ENVIRONMENT

pytestmark = pytest.mark.every_store

CHART = Path(__file__).parent / "charts/shop"
Helm = Callable[..., str]

# StatefulSets are not made ready by anybody here, so what waits leaves the subchart out.
WAITING = ("--set", "cache.enabled=false", "--wait", "--timeout", "60s")


@pytest.fixture
def helm(cluster: Cluster, home: Path, namespace: str) -> Helm:
    """Helm 3's command in a namespace; answers what it prints."""
    program = shutil.which("helm", path=str(Path(sys.executable).parent))
    assert program, "helm is not installed; run make setup"
    environment = {"KUBECONFIG": str(cluster.kubeconfig), "HOME": str(home), "PATH": os.environ["PATH"]}
    environment |= ENVIRONMENT

    def run(*arguments: str) -> str:
        command = [program, "--namespace", namespace, *arguments]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert result.returncode == 0, f"helm {' '.join(arguments)}: {result.stderr}\n{result.stdout}"
        return result.stdout

    return run


@pytest.fixture
def helm4(cluster: Cluster, namespace: str) -> Iterator[helm_python.Config]:
    with helm_python.Config(kubeconfig_path=cluster.kubeconfig, namespace=namespace) as config:
        yield config


@pytest.mark.usefixtures("hollow")
def test_helm_3_installs_upgrades_rolls_back_tests_and_uninstalls(helm: Helm, any_kubectl: Kubectl) -> None:
    kubectl = any_kubectl
    helm("install", "demo", str(CHART), *WAITING)
    # The chart names no number of replicas, which is one; its autoscaler wants two at least.
    kubectl("wait", "deployment/demo-shop", "--for=jsonpath={.status.readyReplicas}=2", "--timeout=60s")
    password = kubectl("get", "secret", "demo-shop", "-o", "jsonpath={.data.password}")
    assert kubectl("get", "offers.shop.example", "-o", "jsonpath={.items[*].spec.percent}") == "20"

    helm("upgrade", "demo", str(CHART), *WAITING, "--set", "greeting=welcome", "--set", "autoscaling.enabled=false")
    assert kubectl("get", "configmap", "demo-shop", "-o", "jsonpath={.data.GREETING}") == "welcome"
    assert kubectl("get", "deployment", "demo-shop", "-o", "jsonpath={.spec.replicas}") == "2"
    assert kubectl("get", "secret", "demo-shop", "-o", "jsonpath={.data.password}") == password, "lookup found it"
    assert "demo-shop" not in kubectl("get", "hpa", "-o", "name")
    assert kubectl("get", "pod", "demo-post-upgrade", "-o", "jsonpath={.status.phase}") == "Succeeded"

    assert "Phase:          Succeeded" in helm("test", "demo")
    helm("rollback", "demo", "1", "--wait", "--timeout", "60s")
    assert kubectl("get", "configmap", "demo-shop", "-o", "jsonpath={.data.GREETING}") == "hello"
    assert "demo-shop" in kubectl("get", "hpa", "-o", "name")
    history = json.loads(helm("history", "demo", "-o", "json"))
    assert [(one["revision"], one["status"]) for one in history] == [
        (1, "superseded"),
        (2, "superseded"),
        (3, "deployed"),
    ]

    helm("uninstall", "demo", "--wait")
    assert helm("list", "-q") == ""
    assert (
        kubectl("get", "deployment,service,secret,configmap,ingress,hpa,pdb", "-l", "app.kubernetes.io/name=shop") == ""
    )
    assert "offers.shop.example" in kubectl("get", "crd", "-o", "name"), "Helm leaves a chart's crds behind"


@pytest.mark.usefixtures("hollow")
def test_helm_3_keeps_what_it_installed_apart_by_server_side_dry_run(helm: Helm, any_kubectl: Kubectl) -> None:
    helm("install", "demo", str(CHART))
    shown = helm("upgrade", "demo", str(CHART), "--dry-run=server", "--set", "greeting=dry")
    assert 'GREETING: "dry"' in shown
    assert any_kubectl("get", "configmap", "demo-shop", "-o", "jsonpath={.data.GREETING}") == "hello"
    assert any_kubectl("get", "statefulset", "demo-cache", "-o", "jsonpath={.spec.serviceName}") == "demo-cache"
    rendered = [one["kind"] for one in yaml.safe_load_all(helm("get", "manifest", "demo")) if one]
    assert sorted(rendered).count("Service") == 2


@pytest.mark.usefixtures("hollow")
def test_helm_4_installs_upgrades_rolls_back_and_uninstalls(helm4: helm_python.Config, any_kubectl: Kubectl) -> None:
    values: dict[str, Any] = {"cache": {"enabled": False}}
    chart = helm_python.Chart.load(CHART)
    installed = helm4.install(chart, "demo", values, wait="watcher", timeout=60)
    assert installed["status"] == "deployed", installed
    any_kubectl("wait", "deployment/demo-shop", "--for=jsonpath={.status.readyReplicas}=2", "--timeout=60s")
    helm4.upgrade(chart, "demo", values | {"greeting": "again"}, wait="watcher", timeout=60)
    assert any_kubectl("get", "configmap", "demo-shop", "-o", "jsonpath={.data.GREETING}") == "again"
    managers = any_kubectl(
        "get",
        "configmap",
        "demo-shop",
        "--show-managed-fields",
        "-o",
        "jsonpath={.metadata.managedFields[*].operation}",
    )
    assert "Apply" in managers, "Helm 4 applies on the server's side"
    helm4.rollback("demo", version=1, wait="watcher", timeout=60)
    assert any_kubectl("get", "configmap", "demo-shop", "-o", "jsonpath={.data.GREETING}") == "hello"
    helm4.uninstall("demo", wait="watcher", timeout=60)
    assert any_kubectl("get", "deployment,service,configmap", "-l", "app.kubernetes.io/name=shop") == ""


def test_helm_4_is_refused_in_words_that_help(helm4: helm_python.Config) -> None:
    with pytest.raises(helm_python.HelmError, match="replicaCount"):
        helm4.install(helm_python.Chart.load(CHART), "demo", {"replicaCount": -1})
    with pytest.raises(helm_python.HelmError, match="not found"):
        helm4.uninstall("nobody")
