"""The arithmetic of a Deployment's rollout: how many replicas each of its ReplicaSets should have next.

Everything here works on ``Group``s, so that it can be searched for counterexamples without objects or servers. The
rules are those of Kubernetes' deployment controller (``rolling.go``, ``sync.go``, ``deploymentutil``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Group:
    """One ReplicaSet, as far as arithmetic goes. Groups are passed oldest first."""

    name: str
    replicas: int
    """``spec.replicas``."""
    available: int
    """Pods known to be available."""
    existing: int = 0
    """Pods known to exist and not to be on their way out; may still be more than ``replicas``."""
    settled: bool = True
    """Its controller has seen ``replicas``; until then more pods may exist than anybody knows."""
    annotated_maximum: int = 0
    """The Deployment's largest allowed size when this one was last scaled; 0 if it does not say."""


@dataclass(frozen=True, slots=True)
class Limits:
    """A Deployment's wishes, resolved to numbers."""

    replicas: int
    surge: int
    """Pods that may exist beyond ``replicas`` during a rollout."""
    unavailable: int
    """Pods of ``replicas`` that may be missing during a rollout."""

    @property
    def largest(self) -> int:
        return self.replicas + self.surge

    @property
    def fewest_available(self) -> int:
        return self.replicas - self.unavailable


def limits(replicas: int, max_surge: int | str | None, max_unavailable: int | str | None) -> Limits:
    """Numbers, or percentages of ``replicas``: surge rounds up, unavailable rounds down; both default to 25%.

    If both come to nothing, one may be unavailable: otherwise no rollout could ever begin.
    """
    surge = _resolve(max_surge, replicas, math.ceil)
    unavailable = min(_resolve(max_unavailable, replicas, math.floor), replicas)
    if surge == 0 and unavailable == 0:
        unavailable = min(1, replicas)
    return Limits(replicas, surge, unavailable)


def roll(new: Group, old: Sequence[Group], wanted: Limits) -> dict[str, int]:
    """The next step of a rolling update: new sizes by name, empty if there is nothing to do until pods change.

    Either the new group grows (as far as surge allows) or it has its size and old groups shrink; never both at once, so
    that every step is decided by what the step before has done.
    """
    grown = _grow(new, old, wanted)
    if grown != new.replicas:
        return {new.name: grown}
    return _shrink_old(new, old, wanted)


def scale_proportionally(groups: Sequence[Group], wanted: Limits, *, current_replicas: int) -> dict[str, int]:
    """Spread a change of ``spec.replicas`` in the middle of a rollout over the groups that have replicas.

    ``current_replicas`` (the Deployment's status) stands in for a group's missing annotation. Answers the size of every
    such group, also of those that keep theirs.
    """
    active = [group for group in groups if group.replicas > 0]
    allowed = wanted.largest if wanted.replicas > 0 else 0
    to_add = allowed - sum(group.replicas for group in active)
    # Growing favours large and new groups, shrinking large and old ones: so availability suffers least.
    order = sorted(enumerate(active), key=lambda at: (-at[1].replicas, -at[0] if to_add > 0 else at[0]))
    sizes: dict[str, int] = {}
    added = 0
    for _, group in order:
        share = _share(group, wanted, to_add, added, current_replicas) if to_add else 0
        sizes[group.name] = group.replicas + share
        added += share
    left = to_add - added
    for _, group in order:
        # What rounding left over goes to the first; what the first cannot give, the next ones do.
        size = max(0, sizes[group.name] + left)
        left -= size - sizes[group.name]
        sizes[group.name] = size
    return sizes


def _resolve(wish: int | str | None, replicas: int, rounding: Callable[[float], int]) -> int:
    text = "25%" if wish is None else str(wish)
    return rounding(int(text[:-1]) * replicas / 100) if text.endswith("%") else int(text)


def _grow(new: Group, old: Sequence[Group], wanted: Limits) -> int:
    if new.replicas >= wanted.replicas:
        return wanted.replicas
    # A pod whose ReplicaSet was told to give it up is there until it has done so. Kubernetes counts it as gone already,
    # and therefore has more pods than it promised for a moment.
    if not all(group.settled for group in (new, *old)):
        return new.replicas
    room = wanted.largest - sum(max(group.replicas, group.existing) for group in (new, *old))
    return new.replicas + max(0, min(room, wanted.replicas - new.replicas))


def _shrink_old(new: Group, old: Sequence[Group], wanted: Limits) -> dict[str, int]:
    everything = new.replicas + sum(group.replicas for group in old)
    new_unavailable = max(0, new.replicas - new.available)
    may_go = everything - wanted.fewest_available - new_unavailable
    if may_go <= 0:
        return {}
    without_sick = _shrink(old, may_go, sick_only=True)
    # A group's status may still count pods that its spec has already given up: those are not available for long.
    available = min(new.available, new.replicas) + sum(min(g.available, g.replicas) for g in without_sick)
    after = _shrink(without_sick, available - wanted.fewest_available, sick_only=False)
    return {group.name: group.replicas for group, before in zip(after, old, strict=True) if group != before}


def _shrink(groups: Sequence[Group], most: int, *, sick_only: bool) -> list[Group]:
    """Take at most ``most`` replicas away, from the oldest group on; only those that are not available if so asked."""
    shrunk: list[Group] = []
    for group in groups:
        can = max(0, group.replicas - group.available) if sick_only else group.replicas
        take = max(0, min(can, most))
        most -= take
        shrunk.append(replace(group, replicas=group.replicas - take))
    return shrunk


def _share(group: Group, wanted: Limits, to_add: int, added: int, current_replicas: int) -> int:
    """Kubernetes' ``GetReplicaSetProportion``: this group's part of ``to_add``, never beyond what is left of it."""
    if wanted.replicas == 0:
        fraction = -group.replicas
    else:
        base = group.annotated_maximum or current_replicas or group.replicas
        fraction = math.floor(group.replicas * wanted.largest / base + 0.5) - group.replicas
    left = to_add - added
    return min(fraction, left) if to_add > 0 else max(fraction, left)
