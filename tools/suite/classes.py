"""The suite's pods name no isolation class: this gives them one, as docs/how-to/classes.md says."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

IN_FORCE_SECONDS = 60.0
NAME = "class-by-default"
Kubectl = Callable[..., str]


def kubectl(program: Path, kubeconfig: Path) -> Kubectl:
    def call(*arguments: str, stdin: str = "") -> str:
        command = [program, "--kubeconfig", kubeconfig, *arguments]
        return subprocess.run(command, input=stdin, check=True, capture_output=True, text=True).stdout

    return call


def give(call: Kubectl, isolation_class: str) -> None:
    """Every pod that names no class gets this one, once this returns. Raises TimeoutError."""
    call("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": policy(isolation_class)}))
    deadline = time.monotonic() + IN_FORCE_SECONDS
    asked = ("run", "asked", "--image", "none", "--dry-run=server", "--output", "jsonpath={.spec.runtimeClassName}")
    while call(*asked) != isolation_class:
        if time.monotonic() > deadline:
            raise TimeoutError(f"pods do not become {isolation_class}")
        time.sleep(0.2)


def policy(isolation_class: str) -> list[dict[str, object]]:
    """The policy and its binding."""
    expression = f'Object{{spec: Object.spec{{runtimeClassName: "{isolation_class}"}}}}'
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    spec = {
        "matchConstraints": {"resourceRules": [pods]},
        "matchConditions": [{"name": "names-no-class", "expression": "!has(object.spec.runtimeClassName)"}],
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
    }
    common = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": NAME}}
    return [
        {**common, "kind": "MutatingAdmissionPolicy", "spec": spec},
        {**common, "kind": "MutatingAdmissionPolicyBinding", "spec": {"policyName": NAME}},
    ]
