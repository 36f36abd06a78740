"""What users are warned of, in Kubernetes' words."""

from __future__ import annotations

from typing import Any

import pytest
from tests.api.kinds import made

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.kubernetes.warnings.objects import warnings_of
from kontinuum.api.machinery.resources import Resource

LABELS = {"app": "x"}


def pod(container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "c", "image": "i", **(container or {})}], **spec}}


def workload(name: str = "x", **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": LABELS}, **pod(**spec)}
    return {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": LABELS}, "template": template}}


def service(**spec: Any) -> dict[str, Any]:
    return {"spec": {"ports": [{"port": 80}], **spec}}


def expression(key: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": "Exists"}]}


OLD_ZONE = "failure-domain.beta.kubernetes.io/zone"
ZONE = 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead'
CASES = [
    (r.PODS, pod(nodeSelector={OLD_ZONE: "a"}), f"spec.nodeSelector[{OLD_ZONE}]: {ZONE}"),
    (
        r.PODS,
        pod(
            affinity={
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [expression(OLD_ZONE)]}
                }
            }
        ),
        "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]."
        f"matchExpressions[0].key: {OLD_ZONE} is {ZONE}",
    ),
    (
        r.PODS, pod({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}),
        'spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply',
    ),
    (r.PODS, pod({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}]}), None),
    (
        r.PODS, pod({"resources": {"requests": {"memory": "0.5"}}}),
        'spec.containers[0].resources.requests[memory]: fractional byte value "500m" is invalid, must be an integer',
    ),
    (
        r.PODS, pod({"ports": [{"containerPort": 80}, {"containerPort": 80}]}),
        "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
    ),
    (
        r.PODS, pod({"ports": [{"containerPort": 80}, {"containerPort": 80, "hostPort": 8080}]}),
        "spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]",
    ),
    (r.PODS, pod({"ports": [{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}]}), None),
    (r.PODS, pod(imagePullSecrets=[{"name": "a"}, {"name": "a"}]), 'spec.imagePullSecrets[1].name: duplicate name "a"'),
    (
        r.PODS, pod(terminationGracePeriodSeconds=-1),
        "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
    ),
    (
        r.PODS, pod(volumes=[{"name": "v", "gitRepo": {"repository": "x"}}]),
        "spec.volumes[0].gitRepo: deprecated in v1.11",
    ),
    (
        r.PODS, {"metadata": {"name": "a.b"}, **pod()},
        "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; "
        "a DNS label is recommended: [must not contain dots]",
    ),
    (
        r.DEPLOYMENTS, workload("a.b"),
        "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; "
        "a DNS label is recommended: [must not contain dots]",
    ),
    (
        r.DEPLOYMENTS, workload(nodeSelector={"beta.kubernetes.io/os": "linux"}),
        "spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; "
        'use "kubernetes.io/os" instead',
    ),
    (
        r.SERVICES, service(clusterIP="None", sessionAffinity="ClientIP"),
        "spec.SessionAffinity is ignored for headless services",
    ),
    (
        r.SERVICES, service(externalIPs=["192.0.2.1"]),
        "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
    ),
    (
        r.SERVICES, service(externalName="x.example"),
        'spec.externalName is ignored when spec.type is not "ExternalName"',
    ),
    (
        r.SERVICES, service(trafficDistribution="PreferClose"),
        'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"',
    ),
    (
        r.INGRESSES,
        {"metadata": {"annotations": {"kubernetes.io/ingress.class": "n"}}, "spec": {}},
        "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead",
    ),
    (
        r.PERSISTENTVOLUMES,
        {"spec": {"capacity": {"storage": "1"}, "persistentVolumeReclaimPolicy": "Recycle"}},
        "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. "
        "Instead, the recommended approach is to use dynamic provisioning.",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "obj", "warning"), CASES)
def test_users_are_warned(resource: Resource, obj: dict[str, Any], warning: str | None) -> None:
    assert warnings_of(resource, made(resource, obj), None) == ([warning] if warning else [])


def test_an_update_that_leaves_the_template_alone_warns_of_nothing_again() -> None:
    old = made(r.DEPLOYMENTS, workload("a.b", nodeSelector={"beta.kubernetes.io/os": "linux"}))
    same, changed = made(r.DEPLOYMENTS, old), made(r.DEPLOYMENTS, old)
    changed["metadata"]["generation"] = 2
    assert warnings_of(r.DEPLOYMENTS, same, old) == []
    assert [one.partition(":")[0] for one in warnings_of(r.DEPLOYMENTS, changed, old)] == [
        "spec.template.spec.nodeSelector[beta.kubernetes.io/os]"
    ]
    assert warnings_of(r.PODS, made(r.PODS, pod(nodeSelector={OLD_ZONE: "a"})), made(r.PODS, pod())) == []
