"""What every host of a cluster must be told alike: a ConfigMap of kube-system, read by who joins.

data: {node: '{"cluster_cidr": "10.244.0.0/16", ...}'}     settings of the section ``node``, JSON
"""

from __future__ import annotations

NAMESPACE, NAME, KEY = "kube-system", "kontinuum-node-settings", "node"
SHARED = (
    "cluster_cidr", "cluster_dns", "cluster_domain", "dns", "masquerade", "mtu", "overlay", "overlay_port", "proxy",
    "service_cidrs",
)  # fmt: skip
"""The names of the settings."""
