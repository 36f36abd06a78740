"""One leader at a time, by a Lease: the protocol of client-go's ``leaderelection``, with which it can be mixed.

    following ──lease is free, ours, or has stood still for its whole duration by our clock──▶ leading
    leading ──not renewed for RENEW_DEADLINE, or taken by another──▶ following (the work is cancelled first)

Times in the Lease are for people: whether it has run out is decided by how long *we* have seen it unchanged, so that
clocks of different hosts need not agree.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from kontinuum.api.kubernetes.resources import LEASES
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import Clock, rfc3339_micro
from kontinuum.foundation.errors import Retryable
from kontinuum.foundation.tasks import cancel

log = structlog.get_logger(__name__)

LEASE_SECONDS = 15
RENEW_DEADLINE = 10.0
"""Seconds without a renewal after which a leader stops; below LEASE_SECONDS, so that it stops before another begins."""
RETRY_SECONDS = 2.0


class Election:
    """One candidate for the Lease ``namespace/name``."""

    def __init__(
        self, client: Client, clock: Clock, *, name: str, identity: str, namespace: str = "kube-system"
    ) -> None:
        """``identity`` must be unique among the candidates, also over restarts: host name and a random part."""
        self._client = client
        self._clock = clock
        self._name = name
        self._namespace = namespace
        self._identity = identity
        self._seen: tuple[str, float] = ("", 0.0)
        self.is_leader = False

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work()`` whenever we lead, cancel it when we no longer do; ends only by cancellation or its error."""
        while True:
            while not await self._try_hold():
                await self._clock.sleep(RETRY_SECONDS)
            log.info("leading", lease=self._name, identity=self._identity)
            self.is_leader = True
            try:
                await self._lead(work)
            finally:
                self.is_leader = False
            log.warning("no longer leading", lease=self._name, identity=self._identity)

    async def release(self) -> None:
        """Give the Lease up, so that another need not wait; if that fails, it runs out anyway."""
        try:
            lease = await self._client.get(LEASES, self._name, namespace=self._namespace)
            if lease["spec"].get("holderIdentity") == self._identity:
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
        renewed = self._clock.monotonic()
        while self._clock.monotonic() - renewed < RENEW_DEADLINE:
            await self._clock.sleep(RETRY_SECONDS)
            try:
                async with asyncio.timeout(RENEW_DEADLINE):
                    held = await self._try_hold()
            except TimeoutError:
                continue
            if held:
                renewed = self._clock.monotonic()

    async def _try_hold(self) -> bool:
        """Take or renew the Lease; False if another has it or the server cannot say."""
        try:
            return await self._hold()
        except (ApiError, Retryable) as error:
            log.info("the lease cannot be had now", lease=self._name, error=str(error))
            return False

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
        if holder not in ("", self._identity) and not self._has_run_out(lease):
            return False
        if holder != self._identity:
            spec |= {"acquireTime": now, "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
        spec |= {"holderIdentity": self._identity, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now}
        await self._client.update(LEASES, lease)
        return True

    def _has_run_out(self, lease: Object) -> bool:
        version, since = self._seen
        now = self._clock.monotonic()
        if lease["metadata"]["resourceVersion"] != version:
            self._seen = (lease["metadata"]["resourceVersion"], now)
            return False
        return now - since > int(lease["spec"].get("leaseDurationSeconds") or LEASE_SECONDS)

    def _new_lease(self, now: str) -> Object:
        return {
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": LEASE_SECONDS,
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        }
