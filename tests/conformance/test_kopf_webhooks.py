"""An operator of kopf that is asked about writes: it registers its own webhooks, and kubectl shows what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.cluster import Cluster, Kubectl
from tests.lifetimes import BOUND

from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.pki import Authority

OPERATOR = Path(__file__).parent / "operator_at_the_gates.py"
DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gates.gates.example}
spec:
  group: gates.example
  names: {kind: Gate, plural: gates, singular: gate}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {height: {type: integer}, colour: {type: string}}}
"""
CONFIGURATIONS = ("mutatingwebhookconfiguration/gates.example", "validatingwebhookconfiguration/gates.example")


def gate(name: str, height: int, colour: str = "") -> str:
    spec = f"{{height: {height}, colour: {colour}}}" if colour else f"{{height: {height}}}"
    return f"{{apiVersion: gates.example/v1, kind: Gate, metadata: {{name: {name}}}, spec: {spec}}}"


@pytest.fixture
def operator(cluster: Cluster, home: Path, tmp_path: Path, any_kubectl: Kubectl) -> Iterator[Kubectl]:
    """kubectl in a namespace in which the operator works."""
    kubectl = any_kubectl
    kubectl("apply", "-f", "-", stdin=DEFINITION)
    kubectl("wait", "--for=condition=Established", "crd/gates.gates.example")
    authority = Authority.ensure(tmp_path, RealClock())
    pair = authority.ensure_server("gates", common_name="gates", hosts=["127.0.0.1"])
    files = {
        "GATES_CERTIFICATE": pair.certificate, "GATES_KEY": pair.key, "GATES_AUTHORITY": authority.certificate,
        "KUBECONFIG": cluster.kubeconfig, "HOME": home,
    }  # fmt: skip
    log = tmp_path / "operator.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*BOUND, sys.executable, "-m", "kopf", "run", "--namespace", kubectl.namespace, str(OPERATOR)],
            env={**os.environ, **{key: str(value) for key, value in files.items()}},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            for one in CONFIGURATIONS:
                kubectl.eventually("1" if one.startswith("mut") else "2", "get", one, "--ignore-not-found", "-o",
                                   "go-template={{len .webhooks}}")  # fmt: skip
            yield kubectl
        finally:
            process.terminate()
            assert process.wait(30) == 0, log.read_text()[-3000:]
            kubectl("delete", *CONFIGURATIONS)


def test_an_operators_words_reach_whoever_writes(operator: Kubectl) -> None:
    kubectl = operator
    kubectl("apply", "-f", "-", stdin=gate("low", 1))
    assert kubectl("get", "gate", "low", "-o", "jsonpath={.spec.colour}") == "green"
    warned = kubectl.warns("apply", "-f", "-", stdin=gate("high", 3))
    assert warned.strip() == "Warning: this gate is as high as gates may be"
    refused = kubectl.fails("apply", "-f", "-", stdin=gate("higher", 4))
    assert 'admission webhook "measure.gates.example" denied the request: a gate is at most 3 high' in refused
    changed = kubectl.fails("patch", "gate", "low", "--type=merge", "-p", '{"spec": {"height": 9}}')
    assert "a gate is at most 3 high" in changed
    assert "a gate is at most 3 high" in kubectl.fails("apply", "--dry-run=server", "-f", "-", stdin=gate("dry", 4))
    kubectl("apply", "-f", "-", stdin=gate("golden", 1, "gold"))
    assert "golden gates stay" in kubectl.fails("delete", "gate", "golden")
    kubectl("delete", "gate", "low", "high")
    assert kubectl("get", "gates", "-o", "name").split() == ["gate.gates.example/golden"]
