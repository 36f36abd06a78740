"""Required affinity and anti-affinity between pods: this pod's to others, and that of others to this one.

Kubernetes' rules (plugin InterPodAffinity): in each domain that affinity names there must be a pod that matches *all*
of its terms; if there is none anywhere, a pod that matches its own terms may be the first. No domain that a term of
anti-affinity names may have a pod that matches it; that holds both ways.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.domains import Domains
from kontinuum.scheduler.filters.port import Filter, Reasons
from kontinuum.scheduler.labels import ABSENT, Mask
from kontinuum.scheduler.scope import Scope
from kontinuum.scheduler.snapshot import Snapshot
from kontinuum.scheduler.terms import PodTerm, Role

NOT_NEAR = "node(s) didn't match pod affinity rules"
NOT_AWAY = "node(s) didn't match pod anti-affinity rules"
NOT_WANTED = "node(s) didn't satisfy existing pods anti-affinity rules"


class ByKey:
    """Domains of several topology keys, made when they are needed."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._domains: dict[str, Domains] = {}

    def __getitem__(self, key: str) -> Domains:
        if key not in self._domains:
            self._domains[key] = Domains(self._snapshot, key)
        return self._domains[key]

    def __iter__(self) -> Iterator[Domains]:
        return iter(self._domains.values())

    def __bool__(self) -> bool:
        return bool(self._domains)

    def update(self, rows: list[int]) -> None:
        for one in self:
            one.update(rows)


class Following:
    """All that refuses one demand."""

    def __init__(self, demand: Demand, snapshot: Snapshot) -> None:
        self._demand = demand
        self._snapshot = snapshot
        self._all = snapshot.alive
        self._near, self._away, self._unwanted = ByKey(snapshot), ByKey(snapshot), ByKey(snapshot)
        required = [one for one in demand.terms if one.role is Role.REQUIRED]
        if required:
            # A pod counts only if it matches all terms, for each of their keys.
            tally = snapshot.census.tally(tuple(one.pods for one in required))
            for key in {one.key for one in required}:
                self._near[key].count(tally)
        self._may_be_first = all(self._concerns(one) for one in required)
        for one in demand.terms:
            if one.role is Role.FORBIDDEN:
                self._away[one.key].count(snapshot.census.tally((one.pods,)))
        self._met = 0
        self._meet_new_terms()

    def update(self, rows: list[int]) -> None:
        for one in (self._near, self._away, self._unwanted):
            one.update(rows)
        self._meet_new_terms()

    def mask(self) -> Mask:
        mask = self._is_near()
        for domains in (*self._away, *self._unwanted):
            mask &= _empty(domains)
        return mask

    def refusals(self) -> tuple[Mask, Mask, Mask]:
        """Nodes by the first of the three rules that refuses them."""
        far = ~self._is_near()
        close, unwanted = np.zeros_like(far), np.zeros_like(far)
        for domains in self._away:
            close |= ~_empty(domains)
        for domains in self._unwanted:
            unwanted |= ~_empty(domains)
        return far, close & ~far, unwanted & ~close & ~far

    def _is_near(self) -> Mask:
        mask = self._all.copy()
        if not self._near:
            return mask
        alone = self._may_be_first and not any(domains.pods.any() for domains in self._near)
        for domains in self._near:
            near = np.ones(len(domains.pods), np.bool_) if alone else domains.pods > 0
            near[ABSENT] = False
            mask &= domains.at_nodes(near)
        return mask

    def _meet_new_terms(self) -> None:
        """Anti-affinity of pods that hold a term which nobody held before."""
        terms = self._snapshot.census.terms
        for held in terms[self._met :]:
            if held.term.role is Role.FORBIDDEN and self._concerns(held.term):
                self._unwanted[held.term.key].count(held.tally)
        self._met = len(terms)

    def _concerns(self, term: PodTerm) -> bool:
        return self._snapshot.census.concerns(term, self._demand.namespace, self._demand.labels)


def _empty(domains: Domains) -> Mask:
    empty: Mask = domains.at_nodes(domains.pods == 0)
    return empty


def fits(demand: Demand, snapshot: Snapshot) -> Mask:
    return Following(demand, snapshot).mask()


def reasons(demand: Demand, snapshot: Snapshot) -> Reasons:
    return list(zip((NOT_NEAR, NOT_AWAY, NOT_WANTED), Following(demand, snapshot).refusals(), strict=True))


def freed_by_pods(demand: Demand, snapshot: Snapshot) -> Mask:
    """Pods that leave bring nobody nearer, but they make room for those that want to be away from them."""
    _, close, unwanted = Following(demand, snapshot).refusals()
    return close | unwanted


FILTER = Filter("InterPodAffinity", fits, reasons, freed_by_pods, scope=Scope.CLUSTER, follow=Following)
