"""An operator that kopf runs: a custom resource, finalizers, status, events and peering, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.cluster import Cluster, Kubectl
from tests.lifetimes import BOUND

pytestmark = pytest.mark.every_store

OPERATOR = Path(__file__).parent / "operator_of_ponds.py"
DEFINITIONS = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ponds.ponds.example}
spec:
  group: ponds.example
  names: {kind: Pond, plural: ponds, singular: pond}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {litres: {type: integer}}}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: kopfpeerings.kopf.dev}
spec:
  group: kopf.dev
  names: {kind: KopfPeering, plural: kopfpeerings, singular: kopfpeering}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties: {status: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
POND = """
apiVersion: ponds.example/v1
kind: Pond
metadata: {name: lily}
spec: {litres: 10}
"""


@pytest.fixture
def operator(cluster: Cluster, home: Path, any_kubectl: Kubectl) -> Iterator[Kubectl]:
    """kubectl in a namespace in which the operator works."""
    kubectl = any_kubectl
    kubectl("apply", "-f", "-", stdin=DEFINITIONS)
    kubectl("wait", "--for=condition=Established", "crd/ponds.ponds.example", "crd/kopfpeerings.kopf.dev")
    kubectl("apply", "-f", "-", stdin="{apiVersion: kopf.dev/v1, kind: KopfPeering, metadata: {name: ponds}}")
    log = home / "operator.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*BOUND, sys.executable, "-m", "kopf", "run", "--namespace", kubectl.namespace, str(OPERATOR)],
            env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "HOME": str(home)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield kubectl
        finally:
            process.terminate()
            assert process.wait(30) == 0, log.read_text()[-3000:]


def test_kopf_runs_an_operator_through_the_life_of_its_resource(operator: Kubectl) -> None:
    kubectl = operator
    litres = ("get", "configmap", "lily", "--ignore-not-found", "-o", "jsonpath={.data.litres}")
    kubectl("create", "-f", "-", stdin=POND)
    kubectl.eventually("10", *litres)
    kubectl.eventually("true", "get", "pond", "lily", "-o", "jsonpath={.status.fill.filled}")
    assert kubectl("get", "pond", "lily", "-o", "jsonpath={.metadata.finalizers}") == '["ponds.example/drain"]'
    owner = kubectl("get", "configmap", "lily", "-o", "jsonpath={.metadata.ownerReferences[0].kind}")
    assert owner == "Pond"
    kubectl("patch", "pond", "lily", "--type=merge", "-p", '{"spec": {"litres": 25}}')
    kubectl.eventually("25", *litres)
    kubectl.eventually("true", "get", "events", "-o", "go-template={{ne (len .items) 0}}")
    assert kubectl("get", "events", "-o", "jsonpath={.items[*].reason}") == "Filled"
    peers = kubectl("get", "kopfpeering", "ponds", "-o", "jsonpath={.status}")
    assert "priority" in peers
    kubectl("delete", "pond", "lily", "--timeout=30s")
    assert kubectl("get", "configmap", "lily-drained", "-o", "name").strip() == "configmap/lily-drained"
    kubectl.eventually("", *litres)
