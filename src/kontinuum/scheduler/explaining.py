"""Why a pod goes where it goes: for each node which filter refuses it and how each score arises. Nothing is written.

``gather`` reads a cluster as the scheduler reads it, ``explain`` is pure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from kontinuum.api.kubernetes.resources import NODES, PODS
from kontinuum.api.machinery.objects import Object, key_of, uid_of
from kontinuum.client.informer import Change, Informer
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Refused, Retryable
from kontinuum.foundation.tasks import cancel
from kontinuum.scheduler.companion import Make
from kontinuum.scheduler.demand import Demand, read_demand
from kontinuum.scheduler.evaluation import Plugins
from kontinuum.scheduler.loop import COMPANIONS
from kontinuum.scheduler.nominations import Nomination, Nominations, present
from kontinuum.scheduler.place import Placement, place, score
from kontinuum.scheduler.profiles import read_profiles
from kontinuum.scheduler.reading import (
    is_finished,
    is_waiting,
    node_of,
    priority_of,
    promised_node,
    scheduler_of,
    trim_node,
    trim_pod,
)
from kontinuum.scheduler.settings import SchedulerSettings
from kontinuum.scheduler.snapshot import Snapshot

PATIENCE = 60.0
"""Seconds within which the API server must have told everything."""


class NotExplained(Refused):
    """There is no such pod, or no profile of ours decides for it."""


class NotRead(Retryable):
    """The cluster could not be read in time."""


@dataclass(frozen=True, slots=True)
class Points:
    """What one score gives a node: ``points`` (0 to 100) times ``weight``."""

    plugin: str
    points: int
    weight: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """One node. Either a filter refuses it, or the scores add up to ``total``."""

    node: str
    refused_by: str = ""
    reasons: tuple[str, ...] = ()
    scores: tuple[Points, ...] = ()
    total: int = 0


@dataclass(frozen=True, slots=True)
class Explanation:
    """See the module."""

    pod: str
    scheduler: str
    bound_to: str
    """Where the pod is already; it is explained as if it were to be placed now."""
    node: str
    """Where it would go; "" if it fits nowhere."""
    message: str
    """Why it fits nowhere, in the words of the FailedScheduling event."""
    verdicts: tuple[Verdict, ...] = ()
    """The best node first, then those that are refused."""


@dataclass(slots=True)
class Reading:
    """A cluster as it was read."""

    snapshot: Snapshot = field(default_factory=Snapshot)
    pods: dict[str, Object] = field(default_factory=dict)
    nominations: Nominations = field(default_factory=Nominations)


async def gather(client: Client, clock: Clock, companions: Sequence[Make] = COMPANIONS) -> Reading:
    """Read everything once. Raises NotRead."""
    reading = Reading()
    nodes, pods = (
        Informer(client, NODES, clock=clock, trim=trim_node),
        Informer(client, PODS, clock=clock, trim=trim_pod),
    )

    def node_heard(change: Change, node: Object, old: Object | None) -> None:
        reading.snapshot.set_node(node)

    def pod_heard(change: Change, pod: Object, old: Object | None) -> None:
        reading.pods[key_of(pod)] = pod

    nodes.add_handler(node_heard)
    pods.add_handler(pod_heard)
    made = [make(client, clock, reading.snapshot, lambda event: None) for make in companions]
    informers = [nodes, pods, *(one for each in made for one in each.informers)]
    tasks = [asyncio.create_task(one.run()) for one in informers]
    try:
        async with asyncio.timeout(PATIENCE):
            for one in informers:
                await one.wait_synced()
    except TimeoutError as error:
        missing = ", ".join(one.resource.qualified for one in informers if not one.is_synced)
        raise NotRead(f"reading the cluster: after {PATIENCE:.0f} s still waiting for {missing}") from error
    finally:
        await cancel(*tasks)
    for pod in reading.pods.values():
        if node_of(pod) and not is_finished(pod):
            reading.snapshot.add_pod(uid_of(pod), read_demand(pod), node_of(pod))
        elif is_waiting(pod) and (node := promised_node(pod)):
            demand = read_demand(pod)
            reading.nominations.put(Nomination(uid_of(pod), key_of(pod), priority_of(pod), demand, node))
    return reading


def explain(key: str, reading: Reading, settings: SchedulerSettings) -> Explanation:
    """Why the pod ``namespace/name`` goes where it goes. Raises NotExplained and BadProfile."""
    pod = reading.pods.get(key)
    if pod is None:
        raise NotExplained(f"there is no pod {key}; namespaces are named with -n")
    profiles, name = read_profiles(settings), scheduler_of(pod)
    if name not in profiles:
        known = ", ".join(sorted(profiles))
        raise NotExplained(f"pod {key} asks for the scheduler {name!r}; the settings know of {known}")
    snapshot, uid, plugins = reading.snapshot, uid_of(pod), profiles[name].plugins
    snapshot.remove_pod(uid)
    # Where it is bound is a result, not a wish: a pod's own wish for a node is in its affinity.
    demand = read_demand({**pod, "spec": {**pod["spec"], "nodeName": ""}})
    rivals = reading.nominations.rivals(uid, priority_of(pod))
    found = place(demand, snapshot, plugins, rivals=rivals, promised=reading.nominations.node_of(uid))
    with present(rivals, snapshot):
        verdicts = verdicts_of(demand, snapshot, plugins)
    return Explanation(
        pod=key,
        scheduler=name,
        bound_to=node_of(pod),
        node=found.node if isinstance(found, Placement) else "",
        message="" if isinstance(found, Placement) else found.message,
        verdicts=verdicts,
    )


def verdicts_of(demand: Demand, snapshot: Snapshot, plugins: Plugins) -> tuple[Verdict, ...]:
    """What becomes of every node."""
    refused: dict[int, Verdict] = {}
    feasible = snapshot.alive.copy()
    for one in plugins.filters:
        whole = one.refuses_all(demand, snapshot)
        fits = one.fits(demand, snapshot)
        reasons = one.reasons(demand, snapshot) if not fits.all() else []
        for row in (feasible & ~fits).nonzero()[0].tolist():
            words = (whole,) if whole else tuple(reason for reason, holds in reasons if holds[row])
            refused[row] = Verdict(snapshot.names[row], one.name, words)
        feasible &= fits
    by_name = sorted(refused.values(), key=lambda one: one.node)
    if not feasible.any():  # scores compare the nodes that fit
        return tuple(by_name)
    columns = [
        (one, one.points(demand, snapshot, feasible)) for one in plugins.scores if one.applies(demand, snapshot)
    ]  # fmt: skip
    totals = score(demand, snapshot, feasible, plugins)
    placed = [
        Verdict(
            snapshot.names[row],
            scores=tuple(Points(one.name, int(points[row]), one.weight) for one, points in columns),
            total=int(totals[row]),
        )
        for row in feasible.nonzero()[0].tolist()
    ]
    placed.sort(key=lambda one: (-one.total, snapshot.row_of[one.node]))
    return (*placed, *by_name)
