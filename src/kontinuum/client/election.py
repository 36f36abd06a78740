"""One leader at a time, by a Lease: the protocol of client-go's ``leaderelection``, with which it can be mixed.

    following ──lease is free, ours, or has stood still for its whole duration by our clock──▶ leading
    leading ──not renewed for ``renew_deadline_seconds``, or taken by another──▶ following (the work is cancelled first)

Times in the Lease are for people: whether it has run out is decided by how long *we* have seen it unchanged, so that
clocks of different hosts need not agree.

A leader counts its time from the moment at which it *asked* for its last renewal, not from the answer: another
candidate may have seen the renewal as early as that. And it need not know that its time is over to be stopped: each of
its writes is held against that time just before it leaves (``Fence``), because a process that was frozen in the middle
of its work goes on with it before any timer of its own has run.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from kontinuum.api.kubernetes.resources import LEASES
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.errors import NotLeading
from kontinuum.client.rest import Client
from kontinuum.client.settings import ElectionSettings
from kontinuum.client.transport.port import Request, Response, Transport
from kontinuum.foundation.clock import Clock, rfc3339_micro
from kontinuum.foundation.errors import Refused, Retryable
from kontinuum.foundation.tasks import cancel

log = structlog.get_logger(__name__)


async def leading(
    client: Client, clock: Clock, settings: ElectionSettings, *, lease: str, work: Callable[[Client], Awaitable[None]]
) -> None:
    """Run ``work(client)`` until cancelled; with ``settings.elect`` only while holding ``lease``.

    The client that ``work`` is then given refuses to write when the Lease is no longer held. Raises Refused for times
    that cannot be.
    """
    if not settings.elect:
        await work(client)
        return
    election = Election(client.through(Urgent), clock, name=lease, settings=settings)
    fenced = client.through(lambda transport: Fence(transport, election))
    try:
        await election.run(lambda: work(fenced))
    finally:
        # We are being stopped: shielded, because the next process should not wait for the Lease to run out.
        await asyncio.shield(election.release())


class Election:
    """One candidate for the Lease ``namespace/name``."""

    def __init__(
        self, client: Client, clock: Clock, *, name: str, settings: ElectionSettings, namespace: str = "kube-system"
    ) -> None:
        """Raises Refused if a leader would not have stopped before another begins."""
        if not settings.lease_duration_seconds > settings.renew_deadline_seconds > settings.retry_period_seconds > 0:
            raise Refused(
                "lease_duration_seconds must be longer than renew_deadline_seconds, and that than retry_period_seconds"
            )
        self._client = client
        self._clock = clock
        self._name = name
        self._namespace = namespace
        self._settings = settings
        self.identity = settings.identity or f"{socket.gethostname()}_{secrets.token_hex(4)}"
        self._seen: tuple[str, float] = ("", 0.0)
        self._ours_until = float("-inf")
        self.is_leader = False

    @property
    def may_write(self) -> bool:
        """True while nobody else can have taken the Lease, by our clock."""
        return self.is_leader and self._clock.monotonic() < self._ours_until

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work()`` whenever we lead, cancel it when we no longer do; ends only by cancellation or its error."""
        while True:
            while not await self._try_hold():
                await self._clock.sleep(self._settings.retry_period_seconds)
            log.info("leading", lease=self._name, identity=self.identity)
            self.is_leader = True
            try:
                await self._lead(work)
            finally:
                self.is_leader = False
            log.warning("no longer leading", lease=self._name, identity=self.identity)

    async def release(self) -> None:
        """Give the Lease up, so that another need not wait; if that fails, it runs out anyway."""
        try:
            lease = await self._client.get(LEASES, self._name, namespace=self._namespace)
            if lease["spec"].get("holderIdentity") == self.identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._client.update(LEASES, lease)
        except (ApiError, Retryable) as error:
            log.info("the lease could not be released", lease=self._name, error=str(error))

    async def _lead(self, work: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.ensure_future(work())
        renewal = asyncio.create_task(self._renew())
        try:
            await asyncio.wait({task, renewal}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
        finally:
            await cancel(task, renewal)

    async def _renew(self) -> None:
        """Return when the Lease is lost."""
        while (left := self._ours_until - self._clock.monotonic()) > 0:
            await self._clock.sleep(min(left, self._settings.retry_period_seconds))
            try:
                async with asyncio.timeout(max(0.0, self._ours_until - self._clock.monotonic())):
                    await self._try_hold()
            except TimeoutError:
                return

    async def _try_hold(self) -> bool:
        """Take or renew the Lease; False if another has it or the server cannot say."""
        asked = self._clock.monotonic()
        try:
            held = await self._hold()
        except (ApiError, Retryable) as error:
            log.info("the lease cannot be had now", lease=self._name, error=str(error))
            return False
        self._ours_until = asked + self._settings.renew_deadline_seconds if held else float("-inf")
        return held

    async def _hold(self) -> bool:
        now = rfc3339_micro(self._clock.time())
        try:
            lease = await self._client.get(LEASES, self._name, namespace=self._namespace)
        except ApiError as error:
            if not error.is_not_found:
                raise
            await self._client.create(LEASES, self._new_lease(now))
            return True
        spec = lease.setdefault("spec", {})
        holder = spec.get("holderIdentity") or ""
        if holder not in ("", self.identity) and not self._has_run_out(lease):
            return False
        if holder != self.identity:
            spec |= {"acquireTime": now, "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
        spec |= {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self._settings.lease_duration_seconds,
            "renewTime": now,
        }
        await self._client.update(LEASES, lease)
        return True

    def _has_run_out(self, lease: Object) -> bool:
        version, since = self._seen
        now = self._clock.monotonic()
        if lease["metadata"]["resourceVersion"] != version:
            self._seen = (lease["metadata"]["resourceVersion"], now)
            return False
        return now - since > int(lease["spec"].get("leaseDurationSeconds") or self._settings.lease_duration_seconds)

    def _new_lease(self, now: str) -> Object:
        return {
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": self._settings.lease_duration_seconds,
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        }


class Fence:
    """The transport of a leader's work: a write that the Lease no longer covers is not sent."""

    def __init__(self, transport: Transport, election: Election) -> None:
        self._transport = transport
        self._election = election

    async def send(self, request: Request) -> Response:
        """As ``Transport.send``; raises NotLeading for a write that comes too late."""
        if not request.is_write:
            return await self._transport.send(request)
        self._check()
        return await self._transport.send(replace(request, guard=self._check))

    def _check(self) -> None:
        if not self._election.may_write:
            raise NotLeading("a write is not sent, because the Lease is no longer ours")

    async def close(self) -> None:
        await self._transport.close()


class Urgent:
    """The transport of renewals, which must not wait behind a leader's own work."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def send(self, request: Request) -> Response:
        """As ``Transport.send``."""
        return await self._transport.send(replace(request, is_urgent=True))

    async def close(self) -> None:
        await self._transport.close()
