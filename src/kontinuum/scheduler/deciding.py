"""What becomes of the pods whose turn it is: a node, room that others must leave, or the reason why neither.

A pod of no group is decided alone. The pods of a group are decided one after the other, each as if those before it were
in place, and then all together: unless enough of them found a place, none has. Pure: the snapshot is as it was before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from kontinuum.api.machinery.objects import Object, uid_of
from kontinuum.scheduler.demand import Demand, read_demand
from kontinuum.scheduler.groups import Group, rejected
from kontinuum.scheduler.nominations import Nominations
from kontinuum.scheduler.occupants import Occupants
from kontinuum.scheduler.place import Placement, Refusal, place
from kontinuum.scheduler.preemption import Budget, Labels, Outlook, Preemption, Preemptor, preempt, taken_out
from kontinuum.scheduler.profiles import GANGS, Profile
from kontinuum.scheduler.reading import priority_of
from kontinuum.scheduler.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that a decision depends on but the pod."""

    snapshot: Snapshot
    occupants: Occupants
    nominations: Nominations
    budgets: Callable[[], Sequence[Budget]] = tuple
    """Read only when somebody must make way."""
    labels: Labels = lambda key: {}
    offset: Callable[[int], int] = lambda count: 0
    """Where among ``count`` nodes a search for victims begins."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done about one pod: exactly one of ``node``, ``preemption`` and ``refusal`` alone is its fate.

    ``node``        bind it there
    ``preemption``  it fits nowhere (``refusal`` says why), but will when the victims are gone
    ``refusal``     it fits nowhere; ``keeps_promise`` is False if its nomination is to be withdrawn
    """

    pod: Object
    demand: Demand
    node: str = ""
    preemption: Preemption | None = None
    refusal: Refusal | None = None
    keeps_promise: bool = True


def decide(pod: Object, situation: Situation, profile: Profile) -> Decision:
    """The fate of one pod."""
    snapshot, demand = situation.snapshot, read_demand(pod)
    uid, priority = uid_of(pod), priority_of(pod)
    promised = situation.nominations.node_of(uid)
    rivals = situation.nominations.rivals(uid, priority)
    found = place(demand, snapshot, profile.plugins, rivals=rivals, promised=promised)
    if isinstance(found, Placement):
        return Decision(pod, demand, node=found.node)
    if not profile.preempts:
        return Decision(pod, demand, refusal=replace(found, outlook=""))
    if not found.nodes:
        return Decision(pod, demand, refusal=found)
    outcome = preempt(
        Preemptor(uid, priority, demand, promised),
        found,
        snapshot,
        situation.occupants,
        profile.plugins,
        rivals=rivals,
        budgets=situation.budgets(),
        labels=situation.labels,
        offset=situation.offset(len(found.helpable)),
    )
    if isinstance(outcome, Outlook):
        refusal = replace(found, outlook=outcome.message)
        return Decision(pod, demand, refusal=refusal, keeps_promise=outcome.keeps_promise)
    return Decision(pod, demand, preemption=outcome, refusal=replace(found, outlook=""))


def decide_together(
    group: Group, pods: Sequence[Object], situation: Situation, profile: Profile, *, placed: int
) -> list[Decision]:
    """The fates of the waiting pods of a group, ``placed`` of whose members have their nodes already."""
    trials: list[Decision] = []
    snapshot = situation.snapshot
    with ExitStack() as stack:
        for pod in pods:
            trial = decide(pod, situation, profile)
            trials.append(trial)
            if trial.preemption is not None:
                stack.enter_context(taken_out(trial.preemption.victims, snapshot))
            if node := trial.node or (trial.preemption.node if trial.preemption else ""):
                snapshot.add_pod(uid_of(pod), trial.demand, node)
                stack.callback(snapshot.remove_pod, uid_of(pod))
    at_once = placed + sum(bool(one.node) for one in trials)
    if at_once >= group.minimum:
        return trials
    failed = next((one for one in trials if one.refusal is not None and one.preemption is None), None)
    if at_once + sum(one.preemption is not None for one in trials) < group.minimum and failed is not None:
        return [_rejected(group, one, failed, snapshot.node_count) for one in trials]
    return [_promised(group, one, snapshot.node_count) for one in trials]


def _rejected(group: Group, trial: Decision, failed: Decision, nodes: int) -> Decision:
    """Not enough of the group fit: nobody is placed, and nobody is asked to leave."""
    if trial.refusal is not None and trial.preemption is None:
        return trial
    refusal = _because_of_group(rejected(group, failed.pod), nodes)
    return replace(trial, node="", preemption=None, refusal=refusal, keeps_promise=failed.keeps_promise)


def _promised(group: Group, trial: Decision, nodes: int) -> Decision:
    """Enough will fit when victims are gone: until then the others wait too, and their places are kept for them."""
    if not trial.node:
        return trial
    waits = _because_of_group(f"PodGroup {group.key} waits until there is room for all of it", nodes)
    return replace(trial, node="", preemption=Preemption(trial.node, ()), refusal=waits)


def _because_of_group(why: str, nodes: int) -> Refusal:
    return Refusal(nodes, {}, 0, True, frozenset({GANGS}), whole=why, outlook="")


def refused_whole(pod: Object, why: str, nodes: int) -> Decision:
    """A pod of a group that cannot be tried at all."""
    return Decision(pod, read_demand(pod), refusal=_because_of_group(why, nodes), keeps_promise=False)
