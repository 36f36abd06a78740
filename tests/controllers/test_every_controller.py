"""Every controller, killed between any two of its writes, ends where it would have ended.

A day is a few objects and what a user does to them, with only those controllers on that have work in it, so that a
search over all kill points takes a second. What is compared at its end is everything in the cluster, but for what
chance, order and time have decided: uids, versions, times, addresses, nodes, and the random ends of names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.controllers import days
from tests.controllers.cluster import Cluster, running
from tests.controllers.days import Day
from tests.controllers.days_of_keepers import KEEPERS
from tests.controllers.days_of_others import OTHERS

from kontinuum.api.kubernetes.resources import EVENTS, LEASES
from kontinuum.controllers import manager
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation import virtual_time

DAYS = days.DAYS | KEEPERS

BY_CHANCE = frozenset(
    {
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "lastTransitionTime",
        "lastHeartbeatTime",
        "lastUpdateTime",
        "startTime",
        "completionTime",
        "startedAt",
        "finishedAt",
        "renewTime",
        "timeAdded",
        "generation",
        "observedGeneration",
        "nodeName",
        "endpoints.kubernetes.io/last-change-trigger-time",
        "lastProbeTime",
        "lastScheduleTime",
        "lastSuccessfulTime",
        "lastScaleTime",
    }
)
BY_CHANCE_IF_THERE = frozenset({"certificate"})
"""What may be anything, but not missing."""
ENDS = re.compile(rb'([a-z0-9]-)[bcdfghjklmnpqrstvwxz2-9]{5}(?=")')
ADDRESSES = re.compile(rb"10\.\d+\.\d+\.\d+")
UIDS = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""In the names of what belongs to somebody."""
NOT_COMPARED = {EVENTS, LEASES}


def settings_of(authorities: Path, **more: Any) -> ControllersSettings:
    """What every controller needs to be there at all."""
    pair = {"signing_certificate": str(authorities), "signing_key": str(authorities.with_suffix(".key"))}
    return ControllersSettings(root_ca=str(authorities), **{**pair, **more})


def canonical(value: Any) -> Any:
    """``value`` without what chance, order and time decide."""
    if isinstance(value, dict):
        kept = {key: canonical(one) for key, one in value.items() if key not in BY_CHANCE}
        return kept | dict.fromkeys(BY_CHANCE_IF_THERE & kept.keys(), "there")
    if isinstance(value, list):
        return sorted((canonical(one) for one in value), key=lambda one: orjson.dumps(one, option=orjson.OPT_SORT_KEYS))
    return value


def state(cluster: Cluster, *, tells: bool) -> Counter[bytes]:
    """Everything that there is, each kind of thing with its number; and what was told, however often."""
    kinds = {entry.resource for entry in cluster.api.storage.log} - NOT_COMPARED
    everything = [one for kind in kinds for one in cluster.everything(kind)]
    texts = (orjson.dumps(canonical(one), option=orjson.OPT_SORT_KEYS) for one in everything)
    found = Counter(UIDS.sub(b"UID", ADDRESSES.sub(b"ADDRESS", ENDS.sub(rb"\1*", text))) for text in texts)
    if tells:
        events = cluster.everything(EVENTS)
        found.update({f"{one['involvedObject']['name']}: {one['message']}".encode() for one in events})
    return found


def live(day: Day, authorities: Path, prepare: Callable[[Cluster], None]) -> tuple[Counter[bytes], list[int]]:
    """The end of one day, and the numbers of the controllers' writes; of events only if they are the work."""

    async def main() -> tuple[Counter[bytes], list[int]]:
        settings = settings_of(
            authorities,
            enabled=day.controllers,
            isolation_classes="isolation-classes" in day.controllers,
            terminated_pod_threshold=2,
            unused_token_seconds=86_400.0,
        )
        async with running(settings) as cluster:
            faults = cluster.faults
            prepare(cluster)
            await day.do(cluster)
            await cluster.settle(day.settle)
            day.never(cluster.api.storage.log)
            writes = [n for n, one in enumerate(faults.writes, 1) if day.tells or "/events" not in one.path]
            return state(cluster, tells=day.tells), writes

    return virtual_time.run(main)


@pytest.mark.parametrize("name", list(DAYS))
def test_the_end_is_the_same_wherever_a_controller_is_killed(name: str, authorities: Path) -> None:
    day = DAYS[name]
    expected, writes = live(day, authorities, lambda cluster: None)
    assert len(writes) >= day.least_writes, "the day's controllers have too little to do"
    for point in writes:

        def kill(cluster: Cluster, point: int = point) -> None:
            cluster.faults.after_write = lambda n, request: cluster.replace_controllers() if n == point else None

        ended, _ = live(day, authorities, kill)
        assert ended == expected, f"killed after write {point}: {difference(ended, expected)}"


@pytest.mark.parametrize("name", list(DAYS))
def test_the_end_is_the_same_whichever_answer_is_lost_and_with_every_watch_broken(name: str, authorities: Path) -> None:
    day = DAYS[name]
    expected, _ = live(day, authorities, lambda cluster: None)

    def break_everything(cluster: Cluster) -> None:
        """Every third answer is lost, and after every fourth write what was followed is compacted away."""
        cluster.faults.lost.update(range(2, 200, 3))

        def after_write(number: int, request: object) -> None:
            if number % 4 == 0:
                cluster.api.compact()
                cluster.api.drop_watches()

        cluster.faults.after_write = after_write

    ended, _ = live(day, authorities, break_everything)
    assert ended == expected, difference(ended, expected)


def difference(one: Counter[bytes], other: Counter[bytes]) -> str:
    return "\n".join(
        [""]
        + [f"+ {n} {text.decode()}" for text, n in (one - other).items()]
        + [f"- {n} {text.decode()}" for text, n in (other - one).items()]
    )


def test_every_controller_has_a_day() -> None:
    """And its kill points are searched here, or in a module of their own."""
    elsewhere = {
        "deployment": "test_killed_anywhere",
        "cronjob": "test_cron_jobs",
        "horizontalpodautoscaler": "test_autoscalers",
        "resourceclaim": "test_resource_claims",
        "persistentvolume-binder": "test_volumes_survive_faults",
        "persistentvolume-attach-detach": "test_volumes_are_attached",
        "host-path-provisioner": "test_host_path_volumes",
    }
    searched = {name.removesuffix("-controller") for day in DAYS.values() for name in day.controllers}
    there = {name.removesuffix("-controller") for name in manager.available(settings_of(Path("ca.crt")))}
    assert there == searched | elsewhere.keys()
    meets_faults = {name.removesuffix("-controller") for day in OTHERS.values() for name in day.controllers}
    assert elsewhere.keys() <= meets_faults
    assert all((Path(__file__).parent / f"{module}.py").exists() for module in elsewhere.values())
