"""Thousands of node agents in one process, each seen only in what it writes.

    a pod bound to us ──ready_seconds──▶ Running and Ready ──exit_of──▶ Succeeded, Failed
          └──────────── is being deleted ──stop_seconds──▶ deleted with grace 0

One watch serves all of them: what a server has to send is the same as to one agent each, in fewer streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence

import structlog

from kontinuum.api.kubernetes.resources import LEASES, NODES, PODS
from kontinuum.api.machinery.objects import Object, key_of, name_of, namespace_of, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.informer import Change, Informer
from kontinuum.client.rest import Client
from kontinuum.client.shapes import NOTHING
from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import Clock, rfc3339, rfc3339_micro
from kontinuum.foundation.errors import Retryable
from kontinuum.foundation.tasks import cancel
from kontinuum.hollow import words

log = structlog.get_logger(__name__)

RETRY = Backoff(initial=0.2, maximum=5.0)
LOOK_SECONDS = 0.2


class HollowNodes:
    """See the module. What is public may be changed while they run."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        names: Sequence[str],
        *,
        ready_seconds: float = 2.0,
        stop_seconds: float = 1.0,
        heartbeat_seconds: float = 10.0,
        zones: int = 0,
        writes: int = 64,
        pods: Informer | None = None,
    ) -> None:
        """``zones``: how many the nodes are spread over. ``writes`` may be under way at the same time.

        ``pods``: an informer that somebody has already; it keeps ``words.trim`` of each pod, and is run here.
        """
        self.names = tuple(names)
        self.ready_seconds = ready_seconds
        self.stop_seconds = stop_seconds
        self.silent: set[str] = set()
        """Nodes that neither renew nor let go of pods."""
        self.broken_images: set[str] = set()
        self.exit_of: Callable[[Object], int | None] = lambda pod: None
        """The exit code with which a pod's containers end soon after their start; None: they go on."""
        self.exit_seconds = 1.0
        """From a pod's report of running to its containers' end, if they end at all."""
        self._client = client
        self._clock = clock
        self._heartbeat_seconds = heartbeat_seconds
        self._zones = zones
        self._writers = asyncio.Semaphore(writes)
        self._doing: dict[str, str] = {}
        """By a pod's uid: ``starting`` or ``stopping``."""
        self._addresses: dict[str, str] = {}
        self._given = 0
        self._registered: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._nodes = Informer(client, NODES, clock=clock, trim=words.trim_node)
        self._pods = pods or Informer(
            client, PODS, clock=clock, fields="spec.nodeName!=", trim=words.trim, shape=words.POD
        )
        self._are_registered = asyncio.Event()
        self._pods.add_handler(self._changed)

    async def run(self) -> None:
        """Register every node and answer for all of them until cancelled. What others bind to them counts from then."""
        await asyncio.gather(*(self.register(name) for name in self.names))
        self._are_registered.set()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._nodes.run())
                group.create_task(self._pods.run())
                group.create_task(self._show_life())
        finally:
            await cancel(*self._tasks)

    async def wait_registered(self) -> None:
        """Return when every node is there."""
        await self._are_registered.wait()

    async def wait_open(self) -> None:
        """Return when pods may come to every node."""
        while not all((node := self._nodes.get(name)) and words.is_open(node) for name in self.names):
            await self._clock.sleep(LOOK_SECONDS)

    async def register(self, name: str) -> None:
        """Add one node, or take over one of that name that somebody left."""
        self._registered.add(name)
        zone = f"zone-{self.names.index(name) % self._zones}" if self._zones and name in self.names else ""

        async def work() -> None:
            async with self._writers:
                try:
                    registered = await self._client.create(NODES, words.node(name, zone=zone, now=self._now()))
                except ApiError as error:
                    if not error.is_already_exists:
                        raise
                    registered = await self._client.get(NODES, name)
                await self._report_well(registered)
                try:
                    await self._client.create(LEASES, words.lease(registered, self._now_exactly()))
                except ApiError as error:
                    if not error.is_already_exists:
                        raise

        await self._stubbornly(work)

    async def _show_life(self) -> None:
        """Every node's Lease, and its Ready condition if somebody doubted it; spread over the time, as nodes' are."""
        while True:
            began = self._clock.monotonic()
            for number, name in enumerate(names := self.names):
                due = began + self._heartbeat_seconds * number / max(1, len(names))
                if (wait := due - self._clock.monotonic()) > 0.01:
                    await self._clock.sleep(wait)
                if name not in self.silent:
                    self._begin(self._renew(name))
            await self._clock.sleep(max(0.01, began + self._heartbeat_seconds - self._clock.monotonic()))

    async def _renew(self, name: str) -> None:
        try:
            async with self._writers:
                spec = {"renewTime": self._now_exactly()}
                await self._client.patch(LEASES, name, {"spec": spec}, namespace=words.LEASE_NAMESPACE, shape=NOTHING)
                node = self._nodes.get(name)
                if node is not None and words.is_doubted(node):
                    await self._report_well(await self._client.get(NODES, name))
        except (ApiError, Retryable) as error:
            log.info("a hollow node's heartbeat does not get through", node=name, error=str(error))

    async def _report_well(self, node: Object) -> None:
        if words.is_doubted(node):
            status = words.node_status(node, self._now())
            await self._client.patch(NODES, name_of(node), {"status": status}, subresource="status")

    def _changed(self, change: Change, pod: Object, old: Object | None) -> None:
        uid, is_leaving = uid_of(pod), "deletionTimestamp" in pod["metadata"]
        if change == "deleted":
            self._doing.pop(uid, None)
            self._addresses.pop(uid, None)
        elif pod["spec"].get("nodeName") not in self._registered:
            return
        elif is_leaving and self._doing.get(uid) != "stopping":
            self._doing[uid] = "stopping"
            self._begin(self._stubbornly(lambda: self._stop(pod)))
        elif not is_leaving and uid not in self._doing:
            self._doing[uid] = "starting"
            self._begin(self._stubbornly(lambda: self._start(pod)))

    async def _start(self, pod: Object) -> None:
        await self._clock.sleep(self.ready_seconds)
        image = pod["spec"]["containers"][0]["image"]
        is_ready = image not in self.broken_images
        newest = self._pods.get(key_of(pod)) or pod
        now = self._now()
        await self._report(pod, words.running(newest, address=self._address(pod), is_ready=is_ready, now=now))
        if (code := self.exit_of(pod)) is not None:
            await self._clock.sleep(self.exit_seconds)
            await self._report(pod, words.ended(self._pods.get(key_of(pod)) or pod, code=code, now=self._now()))

    async def _stop(self, pod: Object) -> None:
        await self._clock.sleep(self.stop_seconds)
        if pod["metadata"].get("finalizers") and pod["status"].get("phase") not in ("Failed", "Succeeded"):
            # Whoever holds it back wants to know how it ended.
            await self._report(pod, words.ended(pod, code=143, now=self._now()))
        while pod["spec"]["nodeName"] in self.silent:
            await self._clock.sleep(1.0)
        async with self._writers:
            await self._client.delete(
                PODS, name_of(pod), namespace=namespace_of(pod), uid=uid_of(pod), grace_seconds=0
            )  # fmt: skip

    async def _report(self, pod: Object, status: Object) -> None:
        patch = {"metadata": {"uid": uid_of(pod)}, "status": status}
        async with self._writers:
            await self._client.patch(
                PODS, name_of(pod), patch, namespace=namespace_of(pod), subresource="status", shape=NOTHING
            )

    async def _stubbornly(self, work: Callable[[], Awaitable[None]]) -> None:
        """Again until the server has answered. A refusal is one: the pod has gone, or is another by now."""
        failures = 0
        while True:
            try:
                await work()
                return
            except ApiError as error:
                if error.code < 500 and not error.is_too_many_requests:
                    log.debug("a hollow node is refused", error=str(error))
                    return
            except Retryable as error:
                log.info("a hollow node does not get through", error=str(error))
            await self._clock.sleep(RETRY.delay(failures))
            failures += 1

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _address(self, pod: Object) -> str:
        """One that no other pod has, of 10.64.0.0/10."""
        uid = uid_of(pod)
        if uid not in self._addresses:
            self._given += 1
            self._addresses[uid] = f"10.{64 + (self._given >> 16) % 64}.{(self._given >> 8) % 256}.{self._given % 256}"
        return self._addresses[uid]

    def _now(self) -> str:
        return rfc3339(self._clock.time())

    def _now_exactly(self) -> str:
        return rfc3339_micro(self._clock.time())
