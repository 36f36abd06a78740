"""A profile: which plugins decide for the pods of one ``schedulerName``, and what their points count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from kontinuum.foundation.errors import Refused
from kontinuum.scheduler.evaluation import DEFAULT, Plugins
from kontinuum.scheduler.filters import FILTERS
from kontinuum.scheduler.scores import SCORES, Score, balance, pod_affinity, room
from kontinuum.scheduler.settings import ProfileSettings, SchedulerSettings

PREEMPTION = "DefaultPreemption"
GANGS = "Coscheduling"


class BadProfile(Refused):
    """The settings of a profile make no sense; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What ``deciding`` works with."""

    name: str
    plugins: Plugins = DEFAULT
    preempts: bool = True
    gangs: bool = True


def read_profiles(settings: SchedulerSettings) -> dict[str, Profile]:
    """The profiles by scheduler name. Raises BadProfile."""
    wanted: Sequence[ProfileSettings] = settings.profiles or (ProfileSettings(scheduler_name=settings.name),)
    profiles = {one.scheduler_name: read_profile(one) for one in wanted}
    if len(profiles) < len(wanted):
        raise BadProfile("scheduler.profiles: two profiles have the same scheduler_name")
    return profiles


def read_profile(settings: ProfileSettings) -> Profile:
    """One profile. Raises BadProfile for plugins that there are not."""
    filters, scores = {one.name for one in FILTERS}, {one.name for one in SCORES}
    where = f"scheduler.profiles[{settings.scheduler_name}]"
    _check(f"{where}.disabled", settings.disabled, filters | scores | {PREEMPTION, GANGS})
    _check(f"{where}.disabled_filters", settings.disabled_filters, filters)
    _check(f"{where}.disabled_scores", settings.disabled_scores, scores)
    _check(f"{where}.weights", settings.weights, scores)
    for field, weights in (("weights", settings.weights), ("resources", settings.resources)):
        for name, weight in weights.items():
            if not 1 <= weight <= 100:
                raise BadProfile(f"{where}.{field}.{name}: {weight} is not between 1 and 100; to ignore it, disable it")
    if not 0 <= settings.hard_pod_affinity_weight <= 100:
        wrong = settings.hard_pod_affinity_weight
        raise BadProfile(f"{where}.hard_pod_affinity_weight: {wrong} is not between 0 and 100")
    without_filters = {*settings.disabled, *settings.disabled_filters}
    without_scores = {*settings.disabled, *settings.disabled_scores}
    return Profile(
        settings.scheduler_name,
        Plugins(
            filters=tuple(one for one in FILTERS if one.name not in without_filters),
            scores=tuple(
                replace(one, weight=settings.weights.get(one.name, one.weight))
                for one in map(partial(_configured, settings), SCORES)
                if one.name not in without_scores
            ),
        ),
        preempts=PREEMPTION not in settings.disabled,
        gangs=GANGS not in settings.disabled,
    )


def _configured(settings: ProfileSettings, score: Score) -> Score:
    """The score as the profile wants it computed."""
    if score is room.SCORE and (settings.resources or settings.fills_nodes):
        return room.room(weights=settings.resources, least=not settings.fills_nodes)
    if score is balance.SCORE and settings.resources:
        return balance.balance(resources=tuple(settings.resources))
    if score is pod_affinity.SCORE and settings.hard_pod_affinity_weight != 1:
        return pod_affinity.pod_affinity(hard_weight=settings.hard_pod_affinity_weight)
    return score


def _check(where: str, names: Sequence[str] | dict[str, int], known: set[str]) -> None:
    for name in names:
        if name not in known:
            raise BadProfile(f"{where}: there is no plugin {name!r}; there are {', '.join(sorted(known))}")
