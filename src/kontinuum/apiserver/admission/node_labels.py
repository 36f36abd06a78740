"""Which of its labels a node may set itself (KEP-279). Pure.

Labels below ``node-restriction.kubernetes.io`` are there for administrators to mark nodes that sensitive workloads may
run on, and unknown labels of Kubernetes' own domains may come to mean anything.
"""

from __future__ import annotations

from collections.abc import Mapping

RESTRICTED = "node-restriction.kubernetes.io"
KUBERNETES = ("kubernetes.io", "k8s.io")
OWN = ("kubelet.kubernetes.io", "node.kubernetes.io")
"""Domains whose labels nodes may set freely."""
KNOWN = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
    }
)


def forbidden_labels(new: Mapping[str, str], old: Mapping[str, str]) -> list[str]:
    """The labels among those added, changed or removed that are not the node's to change, sorted."""
    changed = {key for key in {**new, **old} if new.get(key) != old.get(key)}
    return sorted(key for key in changed if not may_set(key))


def may_set(key: str) -> bool:
    domain = key.rpartition("/")[0]
    if _is_in(domain, RESTRICTED):
        return False
    if not any(_is_in(domain, one) for one in KUBERNETES):
        return True
    return key in KNOWN or any(_is_in(domain, one) for one in OWN)


def _is_in(domain: str, parent: str) -> bool:
    return domain == parent or domain.endswith(f".{parent}")
