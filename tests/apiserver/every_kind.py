"""A small valid object of every kind that is stored, and what its status may be patched with."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CONTAINERS = [{"name": "c", "image": "nginx:1"}]
LABELS = {"app": "sample"}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": {"containers": CONTAINERS}}
ONCE = {"metadata": {"labels": LABELS}, "spec": {"containers": CONTAINERS, "restartPolicy": "Never"}}
SELECTOR = {"matchLabels": LABELS}
MATCH = {
    "resourceRules": [{"apiGroups": ["none"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["x"]}]
}
WEBHOOK = {
    "name": "sample.example.com",
    "clientConfig": {"url": "https://127.0.0.1:1/"},
    "rules": MATCH["resourceRules"],
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
}
CONDITION = {
    "type": "Sampled",
    "status": "True",
    "reason": "Test",
    "message": "",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


def certificate_request() -> str:
    """A request for a client certificate, in the form that the API takes it in."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sample")])
    key = ec.generate_private_key(ec.SECP256R1())
    signed = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()


@dataclass(frozen=True)
class Sample:
    """One kind. ``path`` is below ``/api/v1`` or ``/apis``; ``NS`` stands for a namespace."""

    path: str
    body: dict[str, Any]
    status: dict[str, Any] | None = None
    """A merge patch of the status subresource; None where there is none."""
    patch: dict[str, Any] = field(default_factory=dict)
    """A change of the kind's own, beside the labels, that has to be there afterwards."""
    name: str = "sample"


def conditions(**more: Any) -> dict[str, Any]:
    return {"conditions": [CONDITION], **more}


SAMPLES: dict[str, Sample] = {
    "configmaps": Sample("/api/v1/namespaces/NS/configmaps", {"data": {"a": "1"}}, patch={"data": {"b": "2"}}),
    "endpoints": Sample(
        "/api/v1/namespaces/NS/endpoints",
        {"subsets": [{"addresses": [{"ip": "10.0.0.24"}], "ports": [{"name": "http", "port": 80}]}]},
    ),
    "events": Sample(
        "/api/v1/namespaces/NS/events",
        {"involvedObject": {"kind": "Pod", "name": "p", "namespace": "NS"}, "reason": "Test", "type": "Normal"},
        patch={"message": "patched"},
    ),
    "events.events.k8s.io": Sample(
        "/apis/events.k8s.io/v1/namespaces/NS/events",
        {
            "regarding": {"kind": "Pod", "name": "p", "namespace": "NS"},
            "reason": "Test", "type": "Normal", "action": "Do", "eventTime": "2026-01-01T00:00:00.000000Z",
            "reportingController": "example.com/test", "reportingInstance": "one",
        },
        patch={"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}},
    ),
    "limitranges": Sample(
        "/api/v1/namespaces/NS/limitranges", {"spec": {"limits": [{"type": "Pod", "max": {"cpu": "64"}}]}}
    ),
    "namespaces": Sample("/api/v1/namespaces", {}, status=conditions()),
    "nodes": Sample(
        "/api/v1/nodes", {"spec": {"podCIDR": "10.9.0.0/24"}}, status={"capacity": {"cpu": "4"}},
        patch={"spec": {"unschedulable": True}},
    ),
    "persistentvolumeclaims": Sample(
        "/api/v1/namespaces/NS/persistentvolumeclaims",
        {
            "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "",
            }
        },
        status={"conditions": [{"type": "Sampled", "status": "True"}]},
    ),
    "persistentvolumes": Sample(
        "/api/v1/persistentvolumes",
        {"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/tmp/x"}}},
        status={"message": "patched"},
    ),
    "pods": Sample(
        "/api/v1/namespaces/NS/pods", {"spec": {"containers": CONTAINERS}}, status={"message": "patched"},
        patch={"spec": {"activeDeadlineSeconds": 100}},
    ),
    "podtemplates": Sample("/api/v1/namespaces/NS/podtemplates", {"template": TEMPLATE}),
    "replicationcontrollers": Sample(
        "/api/v1/namespaces/NS/replicationcontrollers",
        {"spec": {"replicas": 0, "selector": LABELS, "template": TEMPLATE}},
        status={"replicas": 0, "conditions": [{"type": "Sampled", "status": "True"}]},
        patch={"spec": {"minReadySeconds": 5}},
    ),
    "resourcequotas": Sample(
        "/api/v1/namespaces/NS/resourcequotas", {"spec": {"hard": {"cpu": "1", "memory": "500Mi"}}},
        status={"hard": {"cpu": "1", "memory": "500Mi"}}, patch={"spec": {"hard": {"cpu": "2", "memory": "1Gi"}}},
    ),
    "secrets": Sample("/api/v1/namespaces/NS/secrets", {"stringData": {"a": "1"}}, patch={"data": {"b": "MQ=="}}),
    "serviceaccounts": Sample(
        "/api/v1/namespaces/NS/serviceaccounts", {}, patch={"automountServiceAccountToken": False}
    ),
    "services": Sample(
        "/api/v1/namespaces/NS/services", {"spec": {"ports": [{"port": 80}], "selector": LABELS}},
        status=conditions(), patch={"spec": {"sessionAffinity": "ClientIP"}},
    ),
    "mutatingadmissionpolicies.admissionregistration.k8s.io": Sample(
        "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies",
        {
            "spec": {
                "matchConstraints": MATCH, "reinvocationPolicy": "Never",
                "mutations": [
                    {"patchType": "JSONPatch", "jsonPatch": {"expression": '[JSONPatch{op: "test", path: "/x"}]'}}
                ],
            }
        },
        patch={"spec": {"failurePolicy": "Ignore"}},
    ),
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io": Sample(
        "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings", {"spec": {"policyName": "none"}}
    ),
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": Sample(
        "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", {"webhooks": [WEBHOOK]}
    ),
    "validatingadmissionpolicies.admissionregistration.k8s.io": Sample(
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
        {"spec": {"matchConstraints": MATCH, "validations": [{"expression": "true"}]}},
        status={"conditions": [CONDITION]}, patch={"spec": {"failurePolicy": "Ignore"}},
    ),
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": Sample(
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
        {"spec": {"policyName": "none", "validationActions": ["Deny"]}},
    ),
    "validatingwebhookconfigurations.admissionregistration.k8s.io": Sample(
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", {"webhooks": [WEBHOOK]}
    ),
    "customresourcedefinitions.apiextensions.k8s.io": Sample(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        {
            "spec": {
                "group": "sample.example", "scope": "Namespaced",
                "names": {"plural": "samples", "singular": "sample", "kind": "Sample"},
                "versions": [
                    {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
                ],
            }
        },
        name="samples.sample.example", status={"conditions": [CONDITION]},
    ),
    # One without a service: of others the server itself writes the status, whenever it has looked.
    "apiservices.apiregistration.k8s.io": Sample(
        "/apis/apiregistration.k8s.io/v1/apiservices",
        {
            "spec": {
                "group": "sample.aggregated", "version": "v1", "groupPriorityMinimum": 2000, "versionPriority": 200,
            }
        },
        name="v1.sample.aggregated", status={"conditions": [
            {
                "type": "Available", "status": "True", "reason": "Local", "lastTransitionTime": "2026-01-01T00:00:00Z",
                "message": "Local APIServices are always available",
            }
        ]},
    ),
    "controllerrevisions.apps": Sample(
        "/apis/apps/v1/namespaces/NS/controllerrevisions", {"revision": 1, "data": {"spec": {}}}, patch={"revision": 2}
    ),
    "daemonsets.apps": Sample(
        "/apis/apps/v1/namespaces/NS/daemonsets", {"spec": {"selector": SELECTOR, "template": TEMPLATE}},
        status={"conditions": [{"type": "Sampled", "status": "True"}]}, patch={"spec": {"minReadySeconds": 5}},
    ),
    "deployments.apps": Sample(
        "/apis/apps/v1/namespaces/NS/deployments",
        {"spec": {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE}},
        status={"conditions": [{"type": "Sampled", "status": "True"}]}, patch={"spec": {"minReadySeconds": 5}},
    ),
    "replicasets.apps": Sample(
        "/apis/apps/v1/namespaces/NS/replicasets",
        {"spec": {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE}},
        status={"replicas": 0, "conditions": [{"type": "Sampled", "status": "True"}]},
        patch={"spec": {"minReadySeconds": 5}},
    ),
    "statefulsets.apps": Sample(
        "/apis/apps/v1/namespaces/NS/statefulsets",
        {"spec": {"replicas": 0, "serviceName": "s", "selector": SELECTOR, "template": TEMPLATE}},
        status={"replicas": 0, "conditions": [{"type": "Sampled", "status": "True"}]},
        patch={"spec": {"minReadySeconds": 5}},
    ),
    "horizontalpodautoscalers.autoscaling": Sample(
        "/apis/autoscaling/v2/namespaces/NS/horizontalpodautoscalers",
        {"spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}}},
        status={"desiredReplicas": 2, "currentReplicas": 2}, patch={"spec": {"maxReplicas": 4}},
    ),
    "cronjobs.batch": Sample(
        "/apis/batch/v1/namespaces/NS/cronjobs",
        {"spec": {"schedule": "*/1 * * * *", "suspend": True, "jobTemplate": {"spec": {"template": ONCE}}}},
        status={"lastScheduleTime": "2026-01-01T00:00:00Z"}, patch={"spec": {"schedule": "*/2 * * * *"}},
    ),
    "jobs.batch": Sample(
        "/apis/batch/v1/namespaces/NS/jobs", {"spec": {"suspend": True, "template": ONCE}},
        status={"conditions": [CONDITION]}, patch={"spec": {"parallelism": 3}},
    ),
    "certificatesigningrequests.certificates.k8s.io": Sample(
        "/apis/certificates.k8s.io/v1/certificatesigningrequests",
        {"spec": {"request": certificate_request(), "signerName": "example.com/sample", "usages": ["client auth"]}},
    ),
    "leases.coordination.k8s.io": Sample(
        "/apis/coordination.k8s.io/v1/namespaces/NS/leases",
        {"spec": {"holderIdentity": "one", "leaseDurationSeconds": 30}}, patch={"spec": {"holderIdentity": "two"}},
    ),
    "endpointslices.discovery.k8s.io": Sample(
        "/apis/discovery.k8s.io/v1/namespaces/NS/endpointslices",
        {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"name": "p", "port": 80}]},
    ),
    "flowschemas.flowcontrol.apiserver.k8s.io": Sample(
        "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
        {
            "spec": {
                "matchingPrecedence": 10_000 - 1, "priorityLevelConfiguration": {"name": "global-default"},
                "rules": [
                    {
                        "subjects": [{"kind": "User", "user": {"name": "nobody"}}],
                        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/none"]}],
                    }
                ],
            }
        },
        status={"conditions": [CONDITION]}, patch={"spec": {"matchingPrecedence": 9998}},
    ),
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io": Sample(
        "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations",
        {
            "spec": {
                "type": "Limited",
                "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}},
            }
        },
        status={"conditions": [CONDITION]}, patch={"spec": {"limited": {"nominalConcurrencyShares": 4}}},
    ),
    "ingressclasses.networking.k8s.io": Sample(
        "/apis/networking.k8s.io/v1/ingressclasses", {"spec": {"controller": "example.com/controller"}}
    ),
    "ingresses.networking.k8s.io": Sample(
        "/apis/networking.k8s.io/v1/namespaces/NS/ingresses",
        {"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}},
        status={"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}},
    ),
    "ipaddresses.networking.k8s.io": Sample(
        "/apis/networking.k8s.io/v1/ipaddresses",
        {"spec": {"parentRef": {"resource": "services", "name": "s", "namespace": "default"}}}, name="192.0.2.200",
    ),
    "networkpolicies.networking.k8s.io": Sample(
        "/apis/networking.k8s.io/v1/namespaces/NS/networkpolicies", {"spec": {"podSelector": {}}},
        patch={"spec": {"policyTypes": ["Ingress", "Egress"]}},
    ),
    "servicecidrs.networking.k8s.io": Sample(
        "/apis/networking.k8s.io/v1/servicecidrs", {"spec": {"cidrs": ["10.245.0.0/16"]}},
        status={"conditions": [CONDITION]},
    ),
    "runtimeclasses.node.k8s.io": Sample("/apis/node.k8s.io/v1/runtimeclasses", {"handler": "sample"}),
    "poddisruptionbudgets.policy": Sample(
        "/apis/policy/v1/namespaces/NS/poddisruptionbudgets",
        {"spec": {"minAvailable": 1, "selector": SELECTOR}},
        status={
            "observedGeneration": 1, "expectedPods": 0,
            "disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 1,
        },
        patch={"spec": {"minAvailable": 2}},
    ),
    "clusterrolebindings.rbac.authorization.k8s.io": Sample(
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}},
    ),
    "clusterroles.rbac.authorization.k8s.io": Sample(
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]},
    ),
    "rolebindings.rbac.authorization.k8s.io": Sample(
        "/apis/rbac.authorization.k8s.io/v1/namespaces/NS/rolebindings",
        {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}},
    ),
    "roles.rbac.authorization.k8s.io": Sample(
        "/apis/rbac.authorization.k8s.io/v1/namespaces/NS/roles",
        {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]},
    ),
    "deviceclasses.resource.k8s.io": Sample(
        "/apis/resource.k8s.io/v1/deviceclasses",
        {"spec": {"selectors": [{"cel": {"expression": 'device.driver == "example.com"'}}]}},
    ),
    "resourceclaims.resource.k8s.io": Sample(
        "/apis/resource.k8s.io/v1/namespaces/NS/resourceclaims",
        {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "example.com"}}]}}},
        status={"allocation": {"devices": {}}},
    ),
    "resourceclaimtemplates.resource.k8s.io": Sample(
        "/apis/resource.k8s.io/v1/namespaces/NS/resourceclaimtemplates",
        {"spec": {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "example.com"}}]}}}},
    ),
    "resourceslices.resource.k8s.io": Sample(
        "/apis/resource.k8s.io/v1/resourceslices",
        {
            "spec": {
                "driver": "example.com", "nodeName": "n",
                "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}, "devices": [{"name": "d"}],
            }
        },
    ),
    "priorityclasses.scheduling.k8s.io": Sample("/apis/scheduling.k8s.io/v1/priorityclasses", {"value": 5}),
    "csidrivers.storage.k8s.io": Sample(
        "/apis/storage.k8s.io/v1/csidrivers", {"spec": {"attachRequired": False}},
        patch={"spec": {"podInfoOnMount": True}},
    ),
    "csinodes.storage.k8s.io": Sample(
        "/apis/storage.k8s.io/v1/csinodes", {"spec": {"drivers": [{"name": "example.com", "nodeID": "n"}]}}
    ),
    "csistoragecapacities.storage.k8s.io": Sample(
        "/apis/storage.k8s.io/v1/namespaces/NS/csistoragecapacities", {"storageClassName": "s", "capacity": "1Gi"},
        patch={"capacity": "2Gi"},
    ),
    "storageclasses.storage.k8s.io": Sample(
        "/apis/storage.k8s.io/v1/storageclasses", {"provisioner": "example.com"}, patch={"allowVolumeExpansion": True}
    ),
    "volumeattachments.storage.k8s.io": Sample(
        "/apis/storage.k8s.io/v1/volumeattachments",
        {"spec": {"attacher": "example.com", "nodeName": "n", "source": {"persistentVolumeName": "v"}}},
        status={"attached": True},
    ),
    "volumeattributesclasses.storage.k8s.io": Sample(
        "/apis/storage.k8s.io/v1/volumeattributesclasses", {"driverName": "example.com", "parameters": {"iops": "5"}}
    ),
}  # fmt: skip
