"""The drive: nodes first, then Deployments, each step as many pods again, until all of them run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from kontinuum.api.kubernetes.resources import DEPLOYMENTS, LEASES, NAMESPACES, NODES, PODS, SERVICEACCOUNTS
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import ApiError
from kontinuum.cli.simulation.timing import Lap, Point, fingerprint, point, steps
from kontinuum.client.informer import Change, Informer
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Retryable
from kontinuum.foundation.tasks import cancel
from kontinuum.hollow import words
from kontinuum.hollow.nodes import HollowNodes

NAMESPACE = "kontinuum-simulation"
PREFIX = "hollow-"
LABEL = "kontinuum.dev/simulation"
LOOK_SECONDS = 0.05
STALLED_SECONDS = 120.0
"""Without any news of a pod for this long, nothing more is expected."""
LAST_WORDS_SECONDS = 30.0
"""What is still told of the last step (events wait until there is time for them) has been told after this."""
DELETIONS = 32


class Stalled(Retryable):
    """The pods did not all come to run; the message says how far they came."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to simulate. Times are seconds."""

    nodes: int
    pods: int
    replicas: int = 500
    """Pods of one Deployment."""
    steps: int = 4
    """Points of the curve, each with twice the pods of the one before."""
    ready_seconds: float = 0.0
    heartbeat_seconds: float = 10.0
    settle_seconds: float = 0.0
    """After the last step, for how long everything's processor time is measured while nothing happens."""


@dataclass(frozen=True)
class Idle:
    """Shares of one core that the parts used while nothing happened."""

    seconds: float
    shares: dict[str, float]


class Costs(Protocol):
    """What is driven, as far as that can be told."""

    def memory(self) -> dict[str, int]:
        """Bytes of each part, by the name that a person would give it."""
        ...

    def processor(self) -> dict[str, float]:
        """Seconds of processor time that each has used up to now."""
        ...

    def check(self) -> None:
        """Raises an error if a part has ended that should not."""
        ...


class Drive:
    """One simulation against one API server. ``told`` hears how many pods run, of how many."""

    def __init__(
        self, client: Client, clock: Clock, plan: Plan, *, parts: Costs, told: Callable[[int, int], None]
    ) -> None:
        self._client = client
        self._clock = clock
        self._plan = plan
        self._parts = parts
        self._told = told
        self._lap = Lap(clock.monotonic(), 0)
        self._before: set[str] = set()
        self._news = clock.monotonic()
        self._pods = Informer(client, PODS, clock=clock, labels=LABEL, trim=words.trim, shape=words.POD)
        self._pods.add_handler(self._changed)
        names = [f"{PREFIX}{number}" for number in range(plan.nodes)]
        self._nodes = HollowNodes(
            client, clock, names, ready_seconds=plan.ready_seconds, heartbeat_seconds=plan.heartbeat_seconds, zones=3,
            pods=self._pods,
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def nodes(self) -> AsyncIterator[None]:
        """The namespace and the nodes are there, and live until the block ends."""
        await self._create(NAMESPACES, {"metadata": {"name": NAMESPACE, "labels": {LABEL: "true"}}})
        working = asyncio.create_task(self._nodes.run())
        try:
            await self._wait(self._nodes.wait_registered(), working)
            await self._wait(self._nodes.wait_open(), working)
            await self._wait(self._account(), working)
            yield
        finally:
            await cancel(working)

    async def run(self) -> AsyncIterator[Point]:
        """One point after another, within ``nodes()``. Raises Stalled, ApiError."""
        there = 0
        for size in steps(self._plan.pods, self._plan.steps):
            yield await self._step(there, size)
            there = size

    def fingerprint(self) -> str:
        """Of which pods are where now."""
        return fingerprint(self._pods.items())

    async def idle(self) -> Idle:
        """What everything uses while nothing happens."""
        await self._clock.sleep(LAST_WORDS_SECONDS)
        seconds = self._plan.settle_seconds
        before = self._parts.processor()
        await self._clock.sleep(seconds)
        after = self._parts.processor()
        return Idle(seconds, {name: (after[name] - before[name]) / seconds for name in before})

    async def clean(self) -> None:
        """Remove what was made, in somebody else's cluster."""
        for resource, names, namespace in (
            (NAMESPACES, [NAMESPACE], ""),
            (NODES, self._nodes.names, ""),
            (LEASES, self._nodes.names, words.LEASE_NAMESPACE),
        ):
            await self._delete(resource, names, namespace)

    async def _step(self, there: int, size: int) -> Point:
        before = self._parts.processor()
        self._before |= self._lap.created.keys()
        self._lap = lap = Lap(self._clock.monotonic(), size - there)
        self._news = lap.began
        await asyncio.gather(*(self._create(DEPLOYMENTS, one) for one in deployments(there, size, self._plan.replicas)))
        while not lap.is_over:
            self._parts.check()
            self._told(there + len(lap.running), self._plan.pods)
            if self._clock.monotonic() - self._news > STALLED_SECONDS:
                raise Stalled(
                    f"nothing has happened for {STALLED_SECONDS:g} s: of {lap.wanted} new pods {len(lap.created)} are"
                    f" created, {len(lap.bound)} bound, {len(lap.running)} running"
                )
            await self._clock.sleep(LOOK_SECONDS)
        self._told(size, self._plan.pods)
        after = self._parts.processor()
        return point(
            lap,
            nodes=self._plan.nodes,
            pods=size,
            memory=self._parts.memory(),
            processor={name: after[name] - before[name] for name in before},
        )

    def _changed(self, change: Change, pod: Object, old: Object | None) -> None:
        if change != "deleted" and pod["metadata"]["uid"] not in self._before:
            self._news = self._clock.monotonic()
            self._lap.note(pod, self._news)

    async def _account(self) -> None:
        """The namespace's service account, without which no pod is admitted; its controller makes it."""
        while True:
            with contextlib.suppress(ApiError):
                await self._client.get(SERVICEACCOUNTS, "default", namespace=NAMESPACE)
                return
            await self._clock.sleep(LOOK_SECONDS)

    async def _wait(self, work: object, working: asyncio.Task[None]) -> None:
        """Until ``work`` is done, unless the nodes fall before."""
        waiting = asyncio.ensure_future(work)  # type: ignore[call-overload]
        try:
            await asyncio.wait({waiting, working}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working
            await waiting
        finally:
            await cancel(waiting)

    async def _create(self, resource: Resource, obj: Object) -> None:
        try:
            await self._client.create(resource, obj)
        except ApiError as error:
            if not error.is_already_exists:
                raise

    async def _delete(self, resource: Resource, names: Sequence[str], namespace: str) -> None:
        allowed = asyncio.Semaphore(DELETIONS)

        async def delete(name: str) -> None:
            async with allowed:
                with contextlib.suppress(ApiError):
                    await self._client.delete(resource, name, namespace=namespace)

        await asyncio.gather(*(delete(name) for name in names))


def deployments(there: int, size: int, replicas: int) -> list[Object]:
    """Deployments with ``size - there`` pods together, named after the pods that were there before them."""
    return [_deployment(f"web-{first}", min(replicas, size - first)) for first in range(there, size, replicas)]


def _deployment(name: str, replicas: int) -> Object:
    labels = {LABEL: name}
    requests = {"cpu": "10m", "memory": "16Mi"}
    container = {"name": "main", "image": "registry.k8s.io/pause:3.10", "resources": {"requests": requests}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
