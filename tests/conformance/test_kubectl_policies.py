"""Policies as people write them, applied by real kubectl programs; others work under them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from tests.conformance.cluster import Kubectl

MOST_REPLICAS = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {namespace}.replicas.example.com
spec:
  failurePolicy: Fail
  paramKind:
    apiVersion: v1
    kind: ConfigMap
  matchConstraints:
    resourceRules:
    - apiGroups: [apps]
      apiVersions: [v1]
      operations: [CREATE, UPDATE]
      resources: [deployments]
  matchConditions:
  - name: not-exempt
    expression: "!('example.com/exempt' in object.metadata.?labels.orValue({{}}))"
  variables:
  - name: most
    expression: int(params.data.most)
  validations:
  - expression: object.spec.replicas <= variables.most
    messageExpression: "'replicas must be no greater than ' + string(variables.most)"
    reason: Invalid
  - expression: object.metadata.name.matches('^[a-z]+(-[a-z]+)*$')
    message: names are words with dashes
  auditAnnotations:
  - key: high-replica-count
    valueExpression: "object.spec.replicas > 50 ? 'many: ' + string(object.spec.replicas) : ''"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {namespace}.replicas.example.com
spec:
  policyName: {namespace}.replicas.example.com
  validationActions: [Deny, Audit]
  paramRef:
    name: limits
    parameterNotFoundAction: Deny
  matchResources:
    namespaceSelector:
      matchLabels:
        kubernetes.io/metadata.name: {namespace}
"""
SIDECAR = """
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata:
  name: {namespace}.sidecar.example.com
spec:
  matchConstraints:
    resourceRules:
    - apiGroups: [""]
      apiVersions: [v1]
      operations: [CREATE]
      resources: [pods]
  matchConditions:
  - name: has-no-sidecar
    expression: "!object.spec.?initContainers.orValue([]).exists(c, c.name == 'mesh-proxy')"
  failurePolicy: Fail
  reinvocationPolicy: IfNeeded
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: >
        Object{{
          spec: Object.spec{{
            initContainers: [
              Object.spec.initContainers{{
                name: "mesh-proxy",
                image: "mesh/proxy:v1.0.0",
                restartPolicy: "Always"
              }}
            ]
          }}
        }}
  - patchType: JSONPatch
    jsonPatch:
      expression: >
        has(object.metadata.labels) ?
        [JSONPatch{{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("example.com/mesh"), value: "on"}}] :
        [JSONPatch{{op: "add", path: "/metadata/labels", value: {{"example.com/mesh": "on"}}}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata:
  name: {namespace}.sidecar.example.com
spec:
  policyName: {namespace}.sidecar.example.com
  matchResources:
    namespaceSelector:
      matchLabels:
        kubernetes.io/metadata.name: {namespace}
"""


def apply(kubectl: Kubectl, manifest: str) -> None:
    kubectl("apply", "-f", "-", stdin=manifest.format(namespace=kubectl.namespace))


def remove(kubectl: Kubectl, manifest: str) -> None:
    kubectl("delete", "-f", "-", stdin=manifest.format(namespace=kubectl.namespace))


@pytest.mark.every_store
def test_a_validating_policy_holds_for_what_kubectl_makes(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "limits", "--from-literal=most=3")
    apply(kubectl, MOST_REPLICAS)
    kubectl("create", "deployment", "web", "--image=nginx")
    patch = '{"spec": {"replicas": 5}}'
    text = kubectl.fails("patch", "deployment", "web", "--type=merge", f"--patch={patch}")
    name = f"{kubectl.namespace}.replicas.example.com"
    assert "replicas must be no greater than 3" in text
    assert f"ValidatingAdmissionPolicy '{name}' with binding '{name}' denied request" in text
    assert "names are words with dashes" in kubectl.fails("create", "deployment", "web2", "--image=nginx")
    kubectl("patch", "configmap", "limits", '--patch={"data": {"most": "7"}}')
    kubectl("patch", "deployment", "web", "--type=merge", f"--patch={patch}")
    remove(kubectl, MOST_REPLICAS)
    kubectl("create", "deployment", "web2", "--image=nginx")


@pytest.mark.every_store
def test_a_mutating_policy_changes_what_kubectl_makes(kubectl: Kubectl) -> None:
    apply(kubectl, SIDECAR)
    kubectl("run", "one", "--image=nginx")
    pod: dict[str, Any] = json.loads(kubectl("get", "pod", "one", "-o", "json"))
    (sidecar,) = pod["spec"]["initContainers"]
    assert (sidecar["name"], sidecar["restartPolicy"]) == ("mesh-proxy", "Always")
    assert pod["metadata"]["labels"] == {"run": "one", "example.com/mesh": "on"}
    # Applying the same again changes nothing, because the client does not own what the policy has added.
    bare = "apiVersion: v1\nkind: Pod\nmetadata: {name: two}\nspec: {containers: [{name: main, image: nginx}]}\n"
    assert kubectl("apply", "-f", "-", stdin=bare).strip() == "pod/two created"
    assert kubectl("apply", "-f", "-", stdin=bare).strip() == "pod/two unchanged"
    remove(kubectl, SIDECAR)
    kubectl("run", "three", "--image=nginx")
    assert kubectl("get", "pod", "three", "-o", "jsonpath={.spec.initContainers}") == ""


def test_warnings_are_shown_and_nothing_is_refused(any_kubectl: Kubectl) -> None:
    kubectl = any_kubectl
    warning = [dict(one) for one in yaml.safe_load_all(MOST_REPLICAS.format(namespace=kubectl.namespace))]
    warning[1]["spec"]["validationActions"] = ["Warn"]
    manifest = yaml.safe_dump_all(warning)
    kubectl("create", "configmap", "limits", "--from-literal=most=0")
    kubectl("apply", "-f", "-", stdin=manifest)
    text = kubectl.warns("create", "deployment", "web", "--image=nginx")
    name = f"{kubectl.namespace}.replicas.example.com"
    assert text.strip() == (
        f"Warning: Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{name}': "
        "replicas must be no greater than 0"
    )
    kubectl("delete", "-f", "-", stdin=manifest)


def test_a_policy_that_does_not_compile_is_refused_with_the_place(any_kubectl: Kubectl) -> None:
    wrong = MOST_REPLICAS.replace("object.spec.replicas <= variables.most", "object.spec.replicas <= variables.least")
    text = any_kubectl.fails("apply", "-f", "-", stdin=wrong.format(namespace=any_kubectl.namespace))
    assert (
        'is invalid: spec.validations[0].expression: Invalid value: "object.spec.replicas <= variables.least"' in text
    )
    assert "compilation failed: ERROR: <input>:1:34: undefined field 'least'" in text


def test_policies_print_what_they_are_about(any_kubectl: Kubectl) -> None:
    apply(any_kubectl, MOST_REPLICAS)
    apply(any_kubectl, SIDECAR)
    name = any_kubectl.namespace
    header, row = any_kubectl("get", "validatingadmissionpolicy", f"{name}.replicas.example.com").splitlines()
    assert header.split() == ["NAME", "VALIDATIONS", "PARAMKIND", "AGE"] and row.split()[1:3] == ["2", "v1/ConfigMap"]
    header, row = any_kubectl("get", "validatingadmissionpolicybinding", f"{name}.replicas.example.com").splitlines()
    assert header.split() == ["NAME", "POLICYNAME", "PARAMREF", "AGE"] and row.split()[2] == "*/limits"
    header, row = any_kubectl("get", "mutatingadmissionpolicy", f"{name}.sidecar.example.com").splitlines()
    assert header.split() == ["NAME", "MUTATIONS", "PARAMKIND", "AGE"] and row.split()[1:3] == ["2", "<unset>"]
    any_kubectl.eventually(
        "1", "get", "validatingadmissionpolicy", f"{name}.replicas.example.com", "-o",
        "jsonpath={.status.observedGeneration}",
    )  # fmt: skip
    remove(any_kubectl, MOST_REPLICAS)
    remove(any_kubectl, SIDECAR)
