"""The pod groups of the cluster: which there are, and what their status says.

PodGroups are custom objects of scheduler-plugins. Where their CRD is not installed, their label means nothing, as it
means nothing to a Kubernetes scheduler without that plugin; from when it is, they count.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import structlog

from kontinuum.api.machinery.objects import Object, key_of, name_of, namespace_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.informer import Change, Informer
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import Clock, rfc3339
from kontinuum.foundation.errors import Retryable
from kontinuum.scheduler import groups
from kontinuum.scheduler.events import Event
from kontinuum.scheduler.groups import PODGROUPS, Group, group_key

log = structlog.get_logger(__name__)

LOOK_FOR_CRD = 30.0
"""Seconds between two looks whether the CRD has been installed meanwhile."""
ASK_AGAIN = 1.0
"""The same while the API does not answer at all."""


class Gangs:
    """See the module. ``run`` it in a task."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        members: Callable[[str], list[Object]],
        tell: Callable[[Event], None],
    ) -> None:
        """``members`` are the pods that say they are of a group; ``tell`` is told of PodGroups that came or changed."""
        self._client = client
        self._clock = clock
        self._members = members
        self._tell = tell
        self._informer = Informer(client, PODGROUPS, clock=clock)
        self._informer.add_handler(self._group_changed)
        self._is_served = False
        self._is_known = asyncio.Event()
        self._groups: set[str] | None = set()
        """Those that were heard of before the scheduler began; None from then on."""
        self._dirty: dict[str, None] = {}
        self._is_dirty = asyncio.Event()

    async def run(self) -> None:
        """Follow the PodGroups and keep their status, until cancelled."""
        while not self._is_served:
            try:
                self._is_served = await self._look()
            except Retryable as error:
                log.info("cannot see whether there are PodGroups", error=str(error))
                await self._clock.sleep(ASK_AGAIN)
                continue
            if not self._is_served:
                self._is_known.set()
                await self._clock.sleep(LOOK_FOR_CRD)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._informer.run())
            await self._informer.wait_synced()
            self._is_known.set()
            await self._keep_status()

    async def wait_known(self) -> None:
        """Wait until it is known which PodGroups there are, or that there is no such kind."""
        await self._is_known.wait()

    def is_member(self, pod: Object) -> bool:
        """True if the pod is to be placed with others or not at all."""
        if groups.needs_object(pod):
            return self._is_served
        return bool(group_key(pod)) and groups.group_by_labels(pod) is not None

    def group_of(self, pod: Object) -> Group | None:
        """The pod's group; None if the PodGroup that it names is not there."""
        if not groups.needs_object(pod):
            return groups.group_by_labels(pod)
        pod_group = self._informer.get(group_key(pod))
        return groups.read_group(pod_group) if pod_group is not None else None

    def half_bound(self) -> Iterable[str]:
        """Groups of which some have a node, but fewer than must. Asked once, before anything is decided."""
        heard_of, self._groups = self._groups or (), None
        for key in sorted(heard_of):
            members = self._members(key)
            group = self.group_of(members[0]) if members and self.is_member(members[0]) else None
            placed = sum(groups.counts_as_placed(one) for one in members)
            if group is not None and 0 < placed < group.minimum:
                yield key

    def pod_changed(self, pod: Object) -> None:
        """A pod that may be of a group has come, changed or gone."""
        if key := group_key(pod):
            if self._groups is not None:
                self._groups.add(key)
            if self._is_served:
                self._mark(key)

    def _group_changed(self, change: Change, pod_group: Object, old: Object | None) -> None:
        if change != "deleted":
            self._mark(key_of(pod_group))
        if old is None or old.get("spec") != pod_group.get("spec"):
            self._tell(Event(PODGROUPS.kind, change, pod_group, old))

    def _mark(self, key: str) -> None:
        self._dirty[key] = None
        self._is_dirty.set()

    async def _look(self) -> bool:
        """True if there are PodGroups that we may read."""
        try:
            await self._client.list(PODGROUPS, limit=1)
        except ApiError as error:
            if error.code >= 500 or error.is_too_many_requests:
                raise Retryable(str(error)) from error
            if not error.is_not_found:
                log.warning("pod groups count for nothing, because we may not read them", error=str(error))
            return False
        return True

    async def _keep_status(self) -> None:
        while True:
            await self._is_dirty.wait()
            self._is_dirty.clear()
            for key in list(self._dirty):
                del self._dirty[key]
                await self._write_status(key)

    async def _write_status(self, key: str) -> None:
        pod_group = self._informer.get(key)
        if pod_group is None:
            return
        status = groups.status(pod_group, self._members(key), rfc3339(self._clock.time()))
        if status == (pod_group.get("status") or {}):
            return
        try:
            await self._client.patch(
                PODGROUPS, name_of(pod_group), {"status": status}, namespace=namespace_of(pod_group),
                subresource="status",
            )  # fmt: skip
        except ApiError as error:
            log.info("the status of a pod group was not written", group=key, error=str(error))
        except Retryable as error:
            log.info("the status of a pod group cannot be written now", group=key, error=str(error))
            await self._clock.sleep(ASK_AGAIN)
            self._mark(key)
