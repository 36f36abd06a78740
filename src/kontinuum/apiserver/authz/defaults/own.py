"""What our own processes need beyond Kubernetes' roles: named ``kontinuum:``, so that it is seen whose they are.

Kubernetes' controller manager uses one service account per controller; ours one identity. So that identity is bound to
the role of each controller that it runs, and to one role more for what ours do differently.
"""

from __future__ import annotations

CONTROLLER_MANAGER = "system:kube-controller-manager"
SCHEDULER = "system:kube-scheduler"
PREFIX = "kontinuum:"

OUR_CONTROLLERS = (
    "attachdetach-controller",
    "certificate-controller",
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "daemon-set-controller",
    "deployment-controller",
    "disruption-controller",
    "endpoint-controller",
    "endpointslice-controller",
    "endpointslicemirroring-controller",
    "ephemeral-volume-controller",
    "expand-controller",
    "generic-garbage-collector",
    "horizontal-pod-autoscaler",
    "job-controller",
    "namespace-controller",
    "node-controller",
    "persistent-volume-binder",
    "pod-garbage-collector",
    "pv-protection-controller",
    "pvc-protection-controller",
    "replicaset-controller",
    "replication-controller",
    "resource-claim-controller",
    "resourcequota-controller",
    "root-ca-cert-publisher",
    "service-account-controller",
    "service-cidrs-controller",
    "service-controller",
    "statefulset-controller",
    "ttl-after-finished-controller",
    "volumeattributesclass-protection-controller",
)
"""The controllers of Kubernetes that our controllers' process runs."""

OWN_ROLES: dict[str, str] = {
    # Status and the owners of claims are patched rather than replaced, and the classes of isolation and of storage are
    # kept in existence.
    "kontinuum:controllers": """
        apps: deployments/status replicasets/status: patch
        core: configmaps[cluster-info]: update
        core: services: patch
        core: namespaces/finalize namespaces/status persistentvolumeclaims: patch
        node.k8s.io: runtimeclasses: read create update patch
        storage.k8s.io: storageclasses: create
    """,
    # Pod groups are scheduler-plugins' kind.
    "kontinuum:scheduler": """
        scheduling.x-k8s.io: podgroups: read
        scheduling.x-k8s.io: podgroups/status: patch update
    """,
}
NETWORK_USER = "system:kube-proxy"
"""Whose work the network part of a node does, and whose name it has."""
NETWORK = "kontinuum:network"
"""Beyond a service proxy it enforces policies, and answers the cluster's DNS as the Service that it keeps."""
NETWORK_ROLE = """
    core: pods namespaces: list watch
    networking.k8s.io: networkpolicies: list watch
"""
DNS_ROLE = """
    core: services: create get
    discovery.k8s.io: endpointslices: create get update
"""
"""In kube-system."""
OWN_BINDINGS: dict[str, str] = {
    **{f"{PREFIX}controller:{name}": f"system:controller:{name}" for name in OUR_CONTROLLERS},
    "kontinuum:controllers": "kontinuum:controllers",
}
"""The ClusterRole that each binds to our controllers' identity."""
SCHEDULER_BINDINGS: dict[str, str] = {"kontinuum:scheduler": "kontinuum:scheduler"}
"""The same for the scheduler's."""
