"""Which nodes can take a pod at all: one filter a file, each with Kubernetes' words for its refusal.

A filter looks at all nodes at once and answers a mask. The first one that refuses a node says why, so their order is
Kubernetes' (the order of its default plugins). To add a filter: write its file, and put it in FILTERS.
"""

from kontinuum.scheduler.filters import (
    affinity,
    named_nodes,
    node_name,
    pod_affinity,
    ports,
    resources,
    spread,
    taints,
    unschedulable,
    volume_binding,
    volume_limits,
    volume_restrictions,
    volume_zone,
)
from kontinuum.scheduler.filters.port import Filter

FILTERS: tuple[Filter, ...] = (
    named_nodes.FILTER,
    unschedulable.FILTER,
    node_name.FILTER,
    taints.FILTER,
    affinity.FILTER,
    ports.FILTER,
    resources.FILTER,
    volume_restrictions.FILTER,
    volume_limits.FILTER,
    volume_binding.FILTER,
    volume_zone.FILTER,
    spread.FILTER,
    pod_affinity.FILTER,
)

__all__ = ["FILTERS", "Filter"]
