"""Removing dead containers: a pod's worker keeps few of each container, and this bounds those of the whole node.

The kubelet's rules: over the limit, every container of every pod keeps its share of it, but at least one; if that is
still too much, the oldest of all go. What runs is never touched.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable

import structlog

from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import KontinuumError
from kontinuum.node.port import ContainerRuntime, KnownContainer
from kontinuum.node.settings import NodeSettings

log = structlog.get_logger(__name__)

PERIOD_SECONDS = 60.0
"""As the kubelet's."""

Tell = Callable[[str, str, str], None]
"""Records an event of the node: type, reason, message."""


def plan(containers: Iterable[KnownContainer], maximum: int) -> tuple[str, ...]:
    """The ids of dead containers that must go so that at most ``maximum`` are left; negative means no limit."""
    units: defaultdict[tuple[str, str], list[KnownContainer]] = defaultdict(list)
    for one in containers:
        if one.is_dead:
            units[one.pod_uid, one.name].append(one)
    total = sum(map(len, units.values()))
    if maximum < 0 or total <= maximum:
        return ()
    share = max(1, maximum // len(units))
    going: list[str] = []
    kept: list[KnownContainer] = []
    for unit in units.values():
        unit.sort(key=lambda one: (one.created_at, one.id), reverse=True)
        kept += unit[:share]
        going += [one.id for one in unit[share:]]
    kept.sort(key=lambda one: (one.created_at, one.id), reverse=True)
    return (*going, *(one.id for one in kept[maximum:]))


async def collect_containers(runtime: ContainerRuntime, settings: NodeSettings) -> int:
    """Remove what is over the node's limit; answers how many. Raises the runtime's errors."""
    going = plan(await runtime.known_containers(), settings.maximum_dead_containers)
    for container_id in going:
        await runtime.remove_container(container_id)
    return len(going)


async def collect_ended(runtime: ContainerRuntime, ended: Collection[str]) -> None:
    """Remove every dead container of the pods (by UID) that have ended: the node is short of disk. Raises as above."""
    for one in await runtime.known_containers():
        if one.is_dead and one.pod_uid in ended:
            await runtime.remove_container(one.id)


async def run(runtime: ContainerRuntime, clock: Clock, settings: NodeSettings, tell: Tell) -> None:
    """Until cancelled; for nodes that have a maximum."""
    while True:
        try:
            await collect_containers(runtime, settings)
        except KontinuumError as error:
            log.warning("dead containers cannot be collected", error=str(error))
            tell("Warning", "ContainerGCFailed", str(error))
        await clock.sleep(PERIOD_SECONDS)
