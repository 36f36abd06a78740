"""Volumes and claims as kubectl shows them: bound, asked for, refused, released."""

from __future__ import annotations

import hashlib
import json

from tests.conformance.cluster import Kubectl


def volume(name: str) -> dict[str, object]:
    spec = {
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "2Gi"}, "persistentVolumeReclaimPolicy": "Delete",
        "storageClassName": name, "csi": {"driver": "disks.example.com", "volumeHandle": "h"},
    }  # fmt: skip
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}


def claim(name: str, of_class: str) -> dict[str, object]:
    spec = {
        "accessModes": ["ReadWriteOnce"], "storageClassName": of_class, "resources": {"requests": {"storage": "1Gi"}},
    }  # fmt: skip
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def test_a_volume_and_its_claim_are_shown_as_kubernetes_shows_them(any_kubectl: Kubectl) -> None:
    kubectl = any_kubectl
    name = f"manual-{kubectl.namespace}"
    items = [volume(name), claim("data", name), claim("waits", f"none-{kubectl.namespace}")]
    kubectl("create", "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    kubectl.eventually("Bound", "get", "pvc", "data", "--output=jsonpath={.status.phase}")
    [line] = kubectl("get", "pvc", "data", "--no-headers").splitlines()
    assert line.split()[:7] == ["data", "Bound", name, "2Gi", "RWO", name, "<unset>"]
    [line] = kubectl("get", "pv", name, "--no-headers").splitlines()
    row = [name, "2Gi", "RWO", "Delete", "Bound", f"{kubectl.namespace}/data", name, "<unset>"]
    assert line.split()[:8] == row

    told = "--output=jsonpath={.items[*].reason}"
    kubectl.eventually("ProvisioningFailed", "get", "events", "--field-selector=involvedObject.name=waits", told)
    described = kubectl("describe", "pvc", "waits")
    assert f'storageclass.storage.k8s.io "none-{kubectl.namespace}" not found' in described
    assert "persistentvolume-controller" in described
    described = kubectl("describe", "pvc", "data")
    assert "pv.kubernetes.io/bind-completed: yes" in described
    grow = '{"spec":{"resources":{"requests":{"storage":"3Gi"}}}}'
    assert "only dynamically provisioned pvc can be resized" in kubectl.fails("patch", "pvc", "data", "--patch", grow)

    since = "--output=jsonpath={.status.lastPhaseTransitionTime}"
    assert kubectl("get", "pv", name, since)
    kubectl("delete", "pvc", "data", "waits")
    kubectl.eventually("Released", "get", "pv", name, "--output=jsonpath={.status.phase}")
    kubectl("delete", "pv", name)


def test_a_volume_is_attached_to_the_node_of_its_pod_by_who_our_controllers_are(any_kubectl: Kubectl) -> None:
    kubectl = any_kubectl
    name = f"attached-{kubectl.namespace}"
    managed = {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "annotations": managed}}
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "user"},
        "spec": {
            "nodeName": name, "containers": [{"name": "main", "image": "localhost/work:1"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        },
    }  # fmt: skip
    items = [node, volume(name), claim("data", name), pod]
    kubectl("create", "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    mine = f"{{.items[?(@.spec.nodeName=='{name}')].metadata.name}}"
    found = ("get", "volumeattachments", f"--output=jsonpath={mine}")
    digest = hashlib.sha256(f"hdisks.example.com{name}".encode()).hexdigest()
    kubectl.eventually(f"csi-{digest}", *found)
    done = '{"status":{"attached":true}}'
    kubectl("patch", "volumeattachment", f"csi-{digest}", "--subresource=status", "--type=merge", "--patch", done)
    reported = "--output=jsonpath={.status.volumesAttached[*].name}"
    kubectl.eventually("kubernetes.io/csi/disks.example.com^h", "get", "node", name, reported)
    told = "--output=jsonpath={.items[*].reason}"
    kubectl.eventually("SuccessfulAttachVolume", "get", "events", "--field-selector=involvedObject.name=user", told)
    kubectl("delete", "pod", "user", "--force", "--grace-period=0")
    kubectl.eventually("", *found)
    kubectl.eventually("", "get", "node", name, reported)
    kubectl("delete", "pvc", "data")
    kubectl("delete", "pv", name)
    kubectl("delete", "node", name)
