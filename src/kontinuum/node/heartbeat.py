"""Tells the API that this node lives: the Node object at start, then a Lease again and again, and the status."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection

import structlog

from kontinuum.api.kubernetes.resources import LEASES, NODES
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.rest import Client
from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import Clock, rfc3339, rfc3339_micro
from kontinuum.foundation.errors import KontinuumError
from kontinuum.node.port import ContainerRuntime, PresentImage, RuntimeAway, RuntimeFailed
from kontinuum.node.registration import MachineFacts, has_changed, moves, node_object, node_status
from kontinuum.node.settings import NodeSettings
from kontinuum.node.shutdown.leaving import PROBLEM

log = structlog.get_logger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
RETRY = Backoff(initial=0.1, maximum=2.0)


class Heartbeat:
    """``run`` until cancelled; the node is registered once ``register`` has returned."""

    def __init__(
        self,
        client: Client,
        runtime: ContainerRuntime,
        clock: Clock,
        settings: NodeSettings,
        facts: MachineFacts,
        port: int,
        *,
        pressures: Callable[[], Collection[str]] = frozenset,
        is_leaving: Callable[[], bool] = lambda: False,
        tell: Callable[[str, str, str], None] = lambda kind, reason, message: None,
    ) -> None:
        """``pressures`` names the conditions of pressure that the node has now; ``is_leaving``: it is shutting down.

        ``tell`` records an event about the node: its type, reason and message.
        """
        self._client = client
        self._runtime = runtime
        self._clock = clock
        self._settings = settings
        self._facts = facts
        self._port = port
        self._pressures = pressures
        self._is_leaving = is_leaving
        self._tell = tell
        self._has_started = False
        self._is_cordoned = False
        self._has_said_farewell = False
        self._hurry = asyncio.Event()
        self._node: Object = {}
        self._written_at = 0.0

    @property
    def node(self) -> Object:
        """The Node object as last seen; events of the node are about it."""
        return self._node

    def hurry(self) -> None:
        """Something about the node has changed that others should know of before the next beat."""
        self._hurry.set()

    async def register(self) -> None:
        """Make the Node object, or adopt the one that is there; tries until the API answers."""
        failures = 0
        while True:
            try:
                self._node = await self._create_or_adopt()
                if not self._has_started:
                    self._has_started = True
                    self._tell("Normal", "Starting", "Starting kubelet.")
                await self._write_status(force=True)
                await self._renew()
                return
            except KontinuumError as error:
                log.info("the node cannot be registered yet", node=self._facts.name, error=str(error))
                await self._clock.sleep(RETRY.delay(failures))
                failures += 1

    async def run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.heartbeat_seconds):
                    await self._hurry.wait()
            self._hurry.clear()
            try:
                await self._renew()
                # Others write into it too: extended resources that they offer here, and at times more than they meant.
                self._node = await self._client.get(NODES, self._facts.name)
                due = self._clock.monotonic() - self._written_at >= self._settings.status_seconds
                await self._write_status(force=due)
            except ApiError as error:
                if error.is_not_found:
                    # Somebody deleted the Node: a node that lives says so again.
                    await self.register()
                else:
                    log.warning("the node's heartbeat is refused", error=str(error))
            except KontinuumError as error:
                log.info("the node's heartbeat does not get through", error=str(error))

    async def _create_or_adopt(self) -> Object:
        wanted = node_object(self._facts, self._settings)
        try:
            return await self._client.create(NODES, wanted)
        except ApiError as error:
            if not error.is_already_exists:
                raise
        metadata = {key: wanted["metadata"][key] for key in ("labels", "annotations")}
        patch = {"metadata": metadata, "spec": wanted["spec"]}
        return await self._client.patch(NODES, self._facts.name, patch)

    async def _write_status(self, *, force: bool) -> None:
        before = self._node.get("status") or {}
        now = rfc3339(self._clock.time())
        images: list[PresentImage] | None = None
        problem = await self._problem()
        if not problem:
            with contextlib.suppress(RuntimeAway, RuntimeFailed):  # they help the scheduler a little: no more than that
                images = await self._runtime.present_images()
        status = node_status(
            self._facts, self._settings, before, port=self._port, problem=problem, now=now, images=images,
            pressures=self._pressures(),
        )  # fmt: skip
        if force or has_changed(before, {**before, **status}):
            self._node = await self._client.patch(NODES, self._facts.name, {"status": status}, subresource="status")
            self._written_at = self._clock.monotonic()
        self._tell_moves(before, status)

    def _tell_moves(self, before: Object, status: Object) -> None:
        boot = (before.get("nodeInfo") or {}).get("bootID")
        if boot and boot != self._facts.boot_id:
            text = f"Node {self._facts.name} has been rebooted, boot id: {self._facts.boot_id}"
            self._tell("Warning", "Rebooted", text)
        if (is_leaving := self._is_leaving()) != self._has_said_farewell:
            self._has_said_farewell = is_leaving
            what = "event" if is_leaving else "cancellation"
            self._tell("Normal", "Shutdown", f"Shutdown manager detected shutdown {what}")
        told = moves(before, status)
        is_cordoned = bool(self._node["spec"].get("unschedulable"))
        if is_cordoned != self._is_cordoned:
            self._is_cordoned = is_cordoned
            told.append("NodeNotSchedulable" if is_cordoned else "NodeSchedulable")
        for reason in told:
            self._tell("Normal", reason, f"Node {self._facts.name} status is now: {reason}")

    async def _problem(self) -> str:
        if self._is_leaving():
            return PROBLEM
        try:
            await self._runtime.version()
        except (RuntimeAway, RuntimeFailed) as error:
            return f"container runtime is down: {error}"
        return ""

    async def _renew(self) -> None:
        now = rfc3339_micro(self._clock.time())
        patch = {"spec": {"holderIdentity": self._facts.name, "renewTime": now}}
        try:
            await self._client.patch(LEASES, self._facts.name, patch, namespace=LEASE_NAMESPACE)
        except ApiError as error:
            if not error.is_not_found:
                raise
            await self._client.create(LEASES, self._lease(now))

    def _lease(self, now: str) -> Object:
        owner = {"apiVersion": "v1", "kind": "Node", "name": self._facts.name, "uid": self._node["metadata"]["uid"]}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._facts.name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]},
            "spec": {
                "holderIdentity": self._facts.name,
                "leaseDurationSeconds": self._settings.lease_duration_seconds,
                "renewTime": now,
            },
        }
