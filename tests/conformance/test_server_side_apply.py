"""kubectl's ways to change an object, and who owns what afterwards: apply on either side, diff, edit, scale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.cluster import Kubectl

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
      - {name: main, image: "nginx:1", ports: [{containerPort: 80}]}
"""
WITHOUT_REPLICAS = DEPLOYMENT.replace("  replicas: 2\n", "")
SERVER = ("apply", "--server-side", "-f", "-")


def deployment(kubectl: Kubectl) -> Any:
    return json.loads(kubectl("get", "deployment", "web", "-o", "json", "--show-managed-fields"))


def owners(kubectl: Kubectl) -> dict[tuple[str, str, str], Any]:
    entries = deployment(kubectl)["metadata"]["managedFields"]
    return {(one["manager"], one["operation"], one.get("subresource", "")): one["fieldsV1"] for one in entries}


def replicas_belong_to(kubectl: Kubectl) -> set[tuple[str, str, str]]:
    return {key for key, fields in owners(kubectl).items() if "f:replicas" in fields.get("f:spec", {})}


def test_an_apply_on_the_server_creates_changes_and_prunes(kubectl: Kubectl) -> None:
    assert kubectl(*SERVER, stdin=DEPLOYMENT) == "deployment.apps/web serverside-applied\n"
    changed = DEPLOYMENT.replace("nginx:1", "nginx:2").replace(", ports: [{containerPort: 80}]", "")
    kubectl(*SERVER, stdin=changed)
    (container,) = deployment(kubectl)["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "nginx:2" and "ports" not in container
    assert ("kubectl", "Apply", "") in owners(kubectl)


def test_a_conflict_is_explained_and_can_be_forced(kubectl: Kubectl) -> None:
    kubectl(*SERVER, "--field-manager=first", stdin=DEPLOYMENT)
    said = kubectl.fails(*SERVER, stdin=DEPLOYMENT.replace("replicas: 2", "replicas: 3"))
    assert 'Apply failed with 1 conflict: conflict with "first": .spec.replicas' in said
    assert "--force-conflicts" in said
    kubectl(*SERVER, "--force-conflicts", stdin=DEPLOYMENT.replace("replicas: 2", "replicas: 3"))
    assert deployment(kubectl)["spec"]["replicas"] == 3
    assert replicas_belong_to(kubectl) == {("kubectl", "Apply", "")}


def test_an_object_applied_by_the_client_moves_to_the_server(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    assert ("kubectl-client-side-apply", "Update", "") in owners(kubectl)
    changed = DEPLOYMENT.replace("nginx:1", "nginx:2").replace(
        "labels: {app: web}}\nspec", "labels: {new: label}}\nspec"
    )
    kubectl(*SERVER, stdin=changed)
    moved = deployment(kubectl)
    assert moved["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:2"
    assert ("kubectl", "Apply", "") in owners(kubectl)
    if kubectl.minor >= 26:
        # From here on kubectl itself moves what client-side apply owned, so that removed fields go.
        assert moved["metadata"]["labels"] == {"new": "label"}
        assert ("kubectl-client-side-apply", "Update", "") not in owners(kubectl)
    kubectl("apply", "-f", "-", stdin=changed.replace("nginx:2", "nginx:3"))
    assert deployment(kubectl)["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:3"


def test_scaling_takes_the_replicas_and_an_apply_without_them_leaves_them_alone(kubectl: Kubectl) -> None:
    kubectl(*SERVER, stdin=DEPLOYMENT)
    kubectl("scale", "deployment", "web", "--replicas=4")
    ((scaler, operation, subresource),) = replicas_belong_to(kubectl)
    assert scaler.startswith("kubectl") and (operation, subresource) == ("Update", "scale")
    assert ".spec.replicas" in kubectl.fails(*SERVER, stdin=DEPLOYMENT)
    kubectl(*SERVER, stdin=WITHOUT_REPLICAS)
    assert deployment(kubectl)["spec"]["replicas"] == 4


def test_diff_shows_what_an_apply_would_change_and_changes_nothing(kubectl: Kubectl) -> None:
    kubectl(*SERVER, stdin=DEPLOYMENT)
    changed = DEPLOYMENT.replace("nginx:1", "nginx:2")
    for way in (("diff", "-f", "-"), ("diff", "--server-side", "-f", "-")):
        code, shown = kubectl.exits(*way, stdin=changed)
        assert code == 1 and "-      - image: nginx:1" in shown and "+      - image: nginx:2" in shown, shown
        assert kubectl.exits(*way, stdin=DEPLOYMENT) == (0, "")
    assert deployment(kubectl)["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:1"


def test_an_editor_changes_an_object(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl(*SERVER, stdin=DEPLOYMENT)
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i s/nginx:1/nginx:5/ $1\n")
    editor.chmod(0o755)
    assert "edited" in kubectl("edit", "deployment", "web", EDITOR=str(editor))
    assert deployment(kubectl)["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:5"
    assert ("kubectl-edit", "Update", "") in owners(kubectl)


def test_a_mistake_in_a_configuration_is_explained(kubectl: Kubectl) -> None:
    mistaken = DEPLOYMENT.replace("replicas: 2", "replicaz: 2")
    said = kubectl.fails(*SERVER, "--validate=false", stdin=mistaken)
    assert ".spec.replicaz: field not declared in schema" in said


def test_who_owns_what_is_shown_on_demand_only(kubectl: Kubectl) -> None:
    kubectl(*SERVER, stdin=DEPLOYMENT)
    assert "managedFields" not in kubectl("get", "deployment", "web", "-o", "yaml")
    assert "managedFields" in kubectl("get", "deployment", "web", "-o", "yaml", "--show-managed-fields")
