"""Whatever goes wrong for a while, every controller's day ends as it would have ended; see test_every_controller.

Each fault lasts for a part of the day, or meets some of the requests. What is compared, and what must never happen on
the way there, are the days' own.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
from tests.controllers.cluster import Cluster
from tests.controllers.days import LOOK_AGAIN_SECONDS
from tests.controllers.days_of_others import OTHERS
from tests.controllers.test_every_controller import DAYS, difference, live

from kontinuum.api.kubernetes.resources import PODS, STORED
from kontinuum.api.machinery.status import ApiError, forbidden, internal_error, too_many_requests
from kontinuum.client.rest import Client
from kontinuum.client.transport.fake import Faults, routes
from kontinuum.client.transport.port import Request
from kontinuum.controllers import manager

ALL = DAYS | OTHERS
Fault = Callable[[Cluster], None]
"""Arranges what the controllers of a cluster that has just begun are to suffer."""
SOON, LATER = 4.0, 25.0
"""Seconds after the beginning: the middle of most days, and their rest."""


def errors(cluster: Cluster) -> None:
    """Of every four requests one ends in an error of the server's and one is to come back later, reads too."""
    numbers = itertools.count()

    def refuse(request: Request) -> ApiError | None:
        return {1: internal_error("a fault was injected"), 3: too_many_requests("later", 1)}.get(next(numbers) % 4)

    cluster.faults.refuse = refuse
    asyncio.get_running_loop().call_later(LATER, _forgive, cluster.faults)


def exhausted(cluster: Cluster) -> None:
    """A quota is used up: no pod can be created for a while."""

    def refuse(request: Request) -> ApiError | None:
        exceeded = "exceeded quota: all, requested: 1, used: 1, limited: 1"
        return forbidden(PODS, "", exceeded) if _makes_a_pod(request) else None

    cluster.faults.refuse = refuse
    asyncio.get_running_loop().call_later(LATER, _forgive, cluster.faults)


def overtaken(cluster: Cluster) -> None:
    """Somebody else writes every object in the moment before the controllers do, three times each."""
    overtakings: Counter[str] = Counter()

    def overtake(request: Request) -> ApiError | None:
        if request.method in ("PUT", "PATCH", "DELETE"):
            target = routes.parse(request.path, STORED)
            found = cluster.api.storage.get(target.resource, target.key) if target.name else None
            if found is not None and overtakings[target.key] < 3:
                overtakings[target.key] += 1
                cluster.api.storage.put(target.resource, found)
        return None

    cluster.faults.refuse = overtake


def silence(cluster: Cluster) -> None:
    """Every answer takes its time, and for a while there is none; then all watches are too old."""
    loop, faults = asyncio.get_running_loop(), cluster.faults
    faults.delay = 0.3

    def end() -> None:
        faults.down = True
        cluster.api.drop_watches()

    def begin() -> None:
        faults.down = False
        cluster.api.compact()

    loop.call_later(SOON, end)
    loop.call_later(LATER, begin)


def clock(cluster: Cluster) -> None:
    """Everybody's clock is four minutes fast for a while, then two minutes slow, then right."""
    loop = asyncio.get_running_loop()
    for seconds, jump in ((SOON, 240.0), (LATER, -360.0), (2 * LATER, 120.0)):
        loop.call_later(seconds, cluster.clock.jump, jump)


def rival(cluster: Cluster) -> None:
    """Others believe to be the only controllers as well, and are a little slower."""
    client = Client(cluster.api.channel(Faults(delay=0.07)))
    task = asyncio.create_task(manager.run(client, cluster.clock, cluster.settings))
    cluster.beside.append(task)


def _forgive(faults: Faults) -> None:
    faults.refuse = lambda request: None


def _makes_a_pod(request: Request) -> bool:
    return request.method == "POST" and request.path.endswith("/pods")


FAULTS = {errors: 60.0, exhausted: 60.0, overtaken: 0.0, silence: 60.0, clock: LOOK_AGAIN_SECONDS, rival: 0.0}
"""Each with the seconds that the day takes longer for it: who sleeps by a wrong clock's time looks again at last."""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("name", list(ALL))
def test_the_end_is_the_same(name: str, fault: Fault, authorities: Path) -> None:
    day = replace(ALL[name], settle=ALL[name].settle + FAULTS[fault])
    ended, _ = live(day, authorities, fault)
    expected = undisturbed(name, authorities)
    assert ended == expected, difference(ended, expected)


@lru_cache
def undisturbed(name: str, authorities: Path) -> Counter[bytes]:
    return live(ALL[name], authorities, lambda cluster: None)[0]
