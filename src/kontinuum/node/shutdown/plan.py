"""Who ends when, and how long it may take. Pure; the rules are the kubelet's (``pkg/kubelet/nodeshutdown``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.errors import Refused
from kontinuum.node import pods
from kontinuum.node.eviction.ranking import SYSTEM_CRITICAL, priority
from kontinuum.node.remembered import Ending

MESSAGE = "Pod was terminated in response to imminent node shutdown."


class BadShutdown(Refused, ValueError):
    """The settings contradict each other; the message says how."""


@dataclass(frozen=True, slots=True)
class Group:
    """Pods of at least this priority (and less than the next group's) end together, within ``seconds``."""

    priority: int
    seconds: float


ON_COMMAND = (Group(0, 30.0), Group(SYSTEM_CRITICAL, 10.0))
"""When a person asks for a shutdown although no periods are set."""


def groups(period: float, critical: float, by_priority: Mapping[str, float]) -> tuple[Group, ...]:
    """In the order in which they end; empty if nobody is to wait for pods. Raises BadShutdown."""
    if by_priority:
        if period or critical:
            raise BadShutdown(
                "shutdown_grace_period_by_pod_priority: cannot be set together with shutdown_grace_period"
            )  # fmt: skip
        try:
            found = [Group(int(text), seconds) for text, seconds in by_priority.items()]
        except ValueError:
            raise BadShutdown("shutdown_grace_period_by_pod_priority: priorities must be whole numbers") from None
        if any(one.seconds < 0 for one in found):
            raise BadShutdown("shutdown_grace_period_by_pod_priority: seconds must not be negative")
        return tuple(sorted(found, key=lambda one: one.priority))
    if not 0 <= critical <= period:
        raise BadShutdown("shutdown_grace_period_critical_pods: must be between 0 and shutdown_grace_period")
    if not period:
        return ()
    return (Group(0, period - critical), Group(SYSTEM_CRITICAL, critical))


def shared_out(known: Iterable[Object], order: Sequence[Group]) -> list[tuple[Group, list[Object]]]:
    """Each pod in its group; who is below all of them belongs to the first."""
    members: dict[Group, list[Object]] = {group: [] for group in order}
    for pod in known:
        reached = [group for group in order if group.priority <= priority(pod)]
        members[reached[-1] if reached else order[0]].append(pod)
    return list(members.items())


def ending(pod: Object, group: Group) -> Ending:
    grace = min(int(group.seconds), pods.grace_seconds(pod))
    return Ending("Terminated", MESSAGE, grace=grace, is_disruption=True)
