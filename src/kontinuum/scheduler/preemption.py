"""Who must make way for a pod that fits nowhere: Kubernetes' DefaultPreemption, as a pure decision.

    refused ──may it?──▶ nodes that could be freed ──dry run each──▶ candidates ──the least harm──▶ Preemption
                 └─ no                                   └─ none: an Outlook, the rest of the FailedScheduling message

A dry run takes all less important pods off a node, and puts them back one by one, the most important first, as long as
the newcomer still fits: who cannot come back is a victim. The rules are those of Kubernetes'
``plugins/defaultpreemption`` and ``framework/preemption``, 1.36.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from kontinuum.api.machinery.objects import Object, namespace_of, split_key
from kontinuum.api.machinery.selectors import LabelSelector, from_object
from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.evaluation import DEFAULT, Plugins, evaluation
from kontinuum.scheduler.nominations import Nomination, present
from kontinuum.scheduler.occupants import Occupant, Occupants
from kontinuum.scheduler.place import HELPLESS, NEVER, NO_VICTIMS, Refusal, counted
from kontinuum.scheduler.snapshot import Snapshot

LEAST_CANDIDATES = 100
CANDIDATES_SHARE = 10
"""Percent of the nodes: so many candidates, at least LEAST_CANDIDATES, are looked at before the best is taken."""

LEAST_PRIORITY = -(2**31)

WAITS = "preemption: not eligible due to a terminating pod on the nominated node."


@dataclass(frozen=True, slots=True)
class Preemptor:
    """The pod that wants room."""

    uid: str
    priority: int
    demand: Demand
    promised: str = ""
    """The node that it was promised before."""


@dataclass(frozen=True, slots=True)
class Preemption:
    """The victims must leave ``node``; then the pod fits there."""

    node: str
    victims: tuple[Occupant, ...]
    """The most important first."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """Nobody is asked to leave."""

    message: str
    keeps_promise: bool
    """False: the pod waits for nothing, and its nomination is to be withdrawn."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a PodDisruptionBudget allows."""

    namespace: str
    selector: LabelSelector
    allowed: int
    disrupted: frozenset[str]
    """Pods whose eviction has been counted already."""


@dataclass(slots=True)
class Candidate:
    """One node's dry run."""

    node: str
    victims: list[Occupant] = field(default_factory=list)
    violations: int = 0
    """Victims that a budget would have kept."""

    @property
    def harm(self) -> tuple[int, int, int, int]:
        """The less the better: budgets violated, the most important victim, all their importance, their number.

        Who leaves already is not harmed again: otherwise a scheduler that takes over would ask others as well.
        """
        harmed = [one for one in self.victims if not one.makes_way]
        if not harmed:
            return 0, LEAST_PRIORITY, 0, 0
        # Priorities are made positive first, so that many victims of negative priority are not better than few.
        importance = sum(one.priority - LEAST_PRIORITY for one in harmed)
        return self.violations, harmed[0].priority, importance, len(harmed)

    @property
    def youth(self) -> str:
        """When the first of the most important victims started; the later the better."""
        top = self.victims[0].priority
        return min(one.started for one in self.victims if one.priority == top)


Labels = Callable[[str], dict[str, str]]
"""The labels of the pod with a key."""


def read_budget(pdb: Object) -> Budget:
    status = pdb.get("status") or {}
    return Budget(
        namespace_of(pdb),
        from_object((pdb.get("spec") or {}).get("selector")),
        status.get("disruptionsAllowed") or 0,
        frozenset(status.get("disruptedPods") or ()),
    )


def preempt(
    preemptor: Preemptor,
    refusal: Refusal,
    snapshot: Snapshot,
    occupants: Occupants,
    plugins: Plugins = DEFAULT,
    *,
    rivals: Sequence[Nomination] = (),
    budgets: Sequence[Budget] = (),
    labels: Labels = lambda key: {},
    offset: int = 0,
) -> Preemption | Outlook:
    """Whom to ask to leave. The snapshot is as it was when this returns.

    ``offset`` is where among the nodes the search begins: at random, so that not always the same nodes suffer.
    """
    if refused := why_not_eligible(preemptor, refusal, snapshot, occupants):
        return Outlook(refused, keeps_promise=True)
    rows = refusal.helpable
    enough = min(len(rows), max(LEAST_CANDIDATES, snapshot.node_count * CANDIDATES_SHARE // 100))
    candidates: list[Candidate] = []
    reasons: Counter[str] = Counter({HELPLESS: refusal.nodes - len(rows)})
    with present(rivals, snapshot):
        for row in (*rows[offset:], *rows[:offset]):
            found = dry_run(preemptor, row, snapshot, occupants, plugins, budgets=budgets, labels=labels)
            if isinstance(found, Candidate):
                candidates.append(found)
                if len(candidates) >= enough and any(not one.violations for one in candidates):
                    break
            else:
                reasons.update(found)
    if not candidates:
        return Outlook(f"preemption: {counted(refusal.nodes, reasons)}", keeps_promise=False)
    least = min(one.harm for one in candidates)
    best = max((one for one in candidates if one.harm == least), key=lambda one: one.youth)
    return Preemption(best.node, tuple(best.victims))


def why_not_eligible(preemptor: Preemptor, refusal: Refusal, snapshot: Snapshot, occupants: Occupants) -> str:
    """Why the pod may not ask others to leave now, or ""."""
    if not preemptor.demand.preempts:
        return NEVER
    # A promised node that no departure can help any more binds nobody.
    if snapshot.row_of.get(preemptor.promised) in refusal.helpable and any(
        one.makes_way and one.priority < preemptor.priority for one in occupants.on(preemptor.promised)
    ):
        return WAITS
    return ""


def dry_run(
    preemptor: Preemptor,
    row: int,
    snapshot: Snapshot,
    occupants: Occupants,
    plugins: Plugins,
    *,
    budgets: Sequence[Budget],
    labels: Labels,
) -> Candidate | list[str]:
    """The victims on one node, or the reasons why even without all less important pods it will not do."""
    node, demand = snapshot.names[row], preemptor.demand
    weaker = sorted((one for one in occupants.on(node) if one.priority < preemptor.priority), key=lambda one: one.rank)
    if not weaker:
        return [NO_VICTIMS]
    candidate = Candidate(node)
    with taken_out(weaker, snapshot) as put_back:
        if reasons := reasons_at(demand, row, snapshot, plugins):
            return reasons
        protected = violating(weaker, budgets, labels)
        for one in (*(one for one in weaker if one.uid in protected), *(o for o in weaker if o.uid not in protected)):
            put_back(one)
            if fits_at(demand, row, snapshot, plugins):
                continue
            snapshot.take_out(one.uid)
            candidate.victims.append(one)
            candidate.violations += one.uid in protected
    candidate.victims.sort(key=lambda one: one.rank)
    return candidate if candidate.victims else [NO_VICTIMS]


@contextmanager
def taken_out(pods: Iterable[Occupant], snapshot: Snapshot) -> Iterator[Callable[[Occupant], None]]:
    """Within the block ``pods`` are not counted, except those that were put back with what is handed out."""
    uses = {one.uid: use for one in pods if (use := snapshot.take_out(one.uid)) is not None}
    try:
        yield lambda one: snapshot.put_back(one.uid, uses[one.uid]) if one.uid in uses else None
    finally:
        for uid, use in uses.items():
            if snapshot.pod_node(uid) is None:
                snapshot.put_back(uid, use)


def violating(pods: Sequence[Occupant], budgets: Sequence[Budget], labels: Labels) -> set[str]:
    """The pods, by uid, that could not all leave within the budgets; the first ones use them up."""
    if not budgets:
        return set()
    left = [one.allowed for one in budgets]
    found: set[str] = set()
    for one in pods:
        namespace, name = split_key(one.key)
        mine = labels(one.key)
        for number, budget in enumerate(budgets):
            if (
                not mine
                or budget.namespace != namespace
                or not budget.selector.requirements
                or not budget.selector.matches(mine)
                or name in budget.disrupted
            ):
                continue
            left[number] -= 1
            if left[number] < 0:
                found.add(one.uid)
    return found


def fits_at(demand: Demand, row: int, snapshot: Snapshot, plugins: Plugins) -> bool:
    return bool(evaluation(demand, snapshot, plugins).feasible()[row])


def reasons_at(demand: Demand, row: int, snapshot: Snapshot, plugins: Plugins) -> list[str]:
    """What the first filter says that refuses the node in ``row``; empty if it fits."""
    if fits_at(demand, row, snapshot, plugins):
        return []
    for one in plugins.filters:
        if not one.fits(demand, snapshot)[row]:
            return [reason for reason, holds in one.reasons(demand, snapshot) if holds[row]]
    return []
