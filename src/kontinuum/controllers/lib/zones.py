"""How fast nodes may be left, zone by zone: what looks like many dead nodes is often one broken network. Pure.

The rules are those of Kubernetes' node lifecycle controller ("Rate limits on eviction" in its documentation of nodes):

    normal      fewer than the threshold are absent          the usual rate
    partial     more than two, and at least the threshold    a lower rate; a small zone: nobody is left
    full        all of them                                  the usual rate, unless all zones are like that: nobody
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum

from kontinuum.api.machinery.objects import Object, labels_of

REGION, ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"
FEW = 2
"""So few absent nodes say nothing of their zone, unless it has no others."""


class Health(Enum):
    """A zone's."""

    NORMAL = "normal"
    PARTIAL = "partial"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Limits:
    """Rates are nodes per second; see ``ControllersSettings``."""

    threshold: float
    rate: float
    lower_rate: float
    large: int


def zone_of(node: Object) -> str:
    """Region and zone; nodes that say neither are one zone together."""
    labels = labels_of(node)
    return f"{labels.get(REGION, '')}/{labels.get(ZONE, '')}"


def health_of(absent: int, size: int, threshold: float) -> Health:
    if absent == size:
        return Health.FULL
    return Health.PARTIAL if absent > FEW and absent / size >= threshold else Health.NORMAL


def rates(zones: Mapping[str, Collection[bool]], limits: Limits) -> dict[str, float]:
    """How many nodes of each zone may be left per second; 0: none, it is ourselves that we suspect.

    ``zones`` says for each node whether it is absent.
    """
    health = {name: health_of(sum(nodes), len(nodes), limits.threshold) for name, nodes in zones.items()}
    if all(one is Health.FULL for one in health.values()):
        return dict.fromkeys(zones, 0.0)
    lower = {name: limits.lower_rate if len(nodes) > limits.large else 0.0 for name, nodes in zones.items()}
    return {name: lower[name] if one is Health.PARTIAL else limits.rate for name, one in health.items()}


@dataclass(slots=True)
class Pace:
    """When a node of each zone was left last, in monotonic seconds."""

    last: dict[str, float] = field(default_factory=dict)

    def allows(self, zone: str, rate: float, now: float) -> bool:
        """Take one node's turn, if it is there."""
        if rate <= 0 or now - self.last.get(zone, float("-inf")) < 1 / rate:
            return False
        self.last[zone] = now
        return True
