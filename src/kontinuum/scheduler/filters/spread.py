"""Hard topology spread constraints: no domain may have many more of the pods than the one with the fewest.

Kubernetes' rule (plugin PodTopologySpread): the pods in the node's domain, and this one if it is of their kind, less
the pods in the emptiest domain, are at most ``maxSkew``. Nodes count if they have the keys of all hard constraints and
satisfy the constraint's inclusion policies. With fewer than ``minDomains`` domains, the emptiest one counts as empty.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.domains import Domains
from kontinuum.scheduler.filters import affinity, taints
from kontinuum.scheduler.filters.port import Filter, Reasons
from kontinuum.scheduler.labels import ABSENT, Mask
from kontinuum.scheduler.scope import Scope
from kontinuum.scheduler.snapshot import Snapshot
from kontinuum.scheduler.terms import Spread

REASON = "node(s) didn't match pod topology spread constraints"
LABEL_MISSING = f"{REASON} (missing required label)"


def having_all_keys(spreads: Sequence[Spread], snapshot: Snapshot) -> Mask:
    """Nodes that have the topology keys of all constraints."""
    mask = snapshot.alive.copy()
    for spread in spreads:
        mask &= snapshot.labels.has(spread.key)
    return mask


def included(spread: Spread, demand: Demand, snapshot: Snapshot) -> Mask:
    """Nodes that count for a constraint, as its policies have it (KEP-3094)."""
    mask = snapshot.alive.copy()
    if spread.honour_affinity:
        mask &= affinity.fits(demand, snapshot)
    if spread.honour_taints:
        mask &= taints.fits(demand, snapshot)
    return mask


class _Constraint:
    """One constraint, with the counts it needs."""

    def __init__(self, spread: Spread, demand: Demand, snapshot: Snapshot, having: Mask) -> None:
        counted = having & included(spread, demand, snapshot)
        self.domains = Domains(snapshot, spread.key, counted=counted)
        self.domains.count(snapshot.census.tally((spread.pods,)))
        self._others = spread.maximum_skew - spread.itself
        self._present = np.unique(self.domains.number[counted])
        self._enough_domains = len(self._present) >= spread.minimum_domains

    def mask(self) -> Mask:
        """Nodes that have the key and keep the skew."""
        pods = self.domains.pods
        fewest = pods[self._present].min() if self._enough_domains else 0
        kept = pods - fewest <= self._others
        kept[ABSENT] = False
        mask: Mask = self.domains.at_nodes(kept)
        return mask


class Following:
    """All hard constraints of a demand."""

    def __init__(self, demand: Demand, snapshot: Snapshot) -> None:
        hard = [one for one in demand.spreads if one.hard]
        having = having_all_keys(hard, snapshot)
        self._all = snapshot.alive
        self._constraints = [_Constraint(one, demand, snapshot, having) for one in hard]

    def update(self, rows: list[int]) -> None:
        for one in self._constraints:
            one.domains.update(rows)

    def mask(self) -> Mask:
        mask = self._all.copy()
        for one in self._constraints:
            mask &= one.mask()
        return mask

    def refusals(self) -> tuple[Mask, Mask]:
        """Nodes that miss a label, and nodes where the skew would be too large: whichever constraint refuses first."""
        left, missing, skewed = self._all.copy(), np.zeros_like(self._all), np.zeros_like(self._all)
        for one in self._constraints:
            without = one.domains.number == ABSENT
            missing |= left & without
            skewed |= left & ~without & ~one.mask()
            left &= ~(missing | skewed)
        return missing, skewed


def applies(demand: Demand, snapshot: Snapshot) -> bool:
    return any(one.hard for one in demand.spreads)


def fits(demand: Demand, snapshot: Snapshot) -> Mask:
    return Following(demand, snapshot).mask()


def reasons(demand: Demand, snapshot: Snapshot) -> Reasons:
    missing, skewed = Following(demand, snapshot).refusals()
    return [(LABEL_MISSING, missing), (REASON, skewed)]


def freed_by_pods(demand: Demand, snapshot: Snapshot) -> Mask:
    return Following(demand, snapshot).refusals()[1]


FILTER = Filter(
    "PodTopologySpread", fits, reasons, freed_by_pods, applies=applies, scope=Scope.CLUSTER, follow=Following
)
