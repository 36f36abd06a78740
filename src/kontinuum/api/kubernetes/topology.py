"""Where a pod's node is, as far as the pod itself is labelled with it when it is bound (KEP-4742)."""

from __future__ import annotations

from collections.abc import Mapping

COPIED = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone")
"""Labels of a node that its pods get; what somebody has labelled otherwise stays."""


def labels_on(node: Mapping[str, str], own: dict[str, str]) -> dict[str, str]:
    """What a pod with ``own`` labels is labelled with on a node with the labels ``node``."""
    return {key: node[key] for key in COPIED if key in node} | own
