"""What our own processes need beyond Kubernetes' roles: named ``kontinuum:``, so that it is seen whose they are.

Kubernetes' controller manager uses one service account per controller; ours one identity. So that identity is bound to
the role of each controller that it runs, and to one role more for what ours do differently.
"""

from __future__ import annotations

from kontinuum.api.kontinuum.node_settings import NAME as SETTINGS
from kontinuum.api.kubernetes.bootstrap import INFO, JOINING_GROUP

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
    "legacy-service-account-token-cleaner",
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
    # kept in existence. Certificates that nodes may have for themselves are approved.
    "kontinuum:controllers": """
        apps: deployments/status replicasets/status: patch
        certificates.k8s.io: signers[kubernetes.io/kubelet-serving kubernetes.io/kube-apiserver-client]: approve
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
JOINING_BINDINGS: dict[str, tuple[str, str]] = {
    "kontinuum:join": ("system:node-bootstrapper", JOINING_GROUP),
    "kontinuum:join-approval": ("system:certificates.k8s.io:certificatesigningrequests:nodeclient", JOINING_GROUP),
    "kontinuum:join-look": ("kontinuum:join-look", JOINING_GROUP),
    "kontinuum:renewal-approval": (
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", "system:nodes",
    ),
}  # fmt: skip
"""Machines that join by a token, and nodes that renew their certificates: the role and the group of each binding."""
JOINING_ROLES = {"kontinuum:join-look": "core: nodes: get"}
CLUSTER_INFO = "kontinuum:cluster-info"
CLUSTER_INFO_ROLE = f"core: configmaps[{INFO}]: get"
"""In kube-public, for everybody: who wants to join has no credential that it could show before it knows to whom."""
NODE_SETTINGS = "kontinuum:node-settings"
NODE_SETTINGS_ROLE = f"core: configmaps[{SETTINGS}]: get"
"""In kube-system, for nodes."""
OWN_BINDINGS: dict[str, str] = {
    **{f"{PREFIX}controller:{name}": f"system:controller:{name}" for name in OUR_CONTROLLERS},
    "kontinuum:controllers": "kontinuum:controllers",
}
"""The ClusterRole that each binds to our controllers' identity."""
SCHEDULER_BINDINGS: dict[str, str] = {"kontinuum:scheduler": "kontinuum:scheduler"}
"""The same for the scheduler's."""
