"""ResourceQuotas say in their status what is used of them, counted from what there is.

Which kinds have to be followed is known from the quotas alone: an informer of a kind begins when the first quota speaks
of it, so that clusters without quotas pay nothing. Admission counts by itself; this is what users see.
"""

from __future__ import annotations

import asyncio

from kontinuum.api.kubernetes.amounts import Amounts, add
from kontinuum.api.kubernetes.quota.quotas import Quota, total
from kontinuum.api.kubernetes.quota.usage import READ
from kontinuum.api.kubernetes.resources import PODS, RESOURCEQUOTAS
from kontinuum.api.machinery.objects import Object, key_of, namespace_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.client.discovery import discover
from kontinuum.client.informer import Informer
from kontinuum.client.reconcile import DONE, Result
from kontinuum.controllers.context import BY_NAMESPACE, Context, by_namespace
from kontinuum.controllers.frame import KeyReconciler
from kontinuum.controllers.lib.quotas import resources_of, status_of, without_the_rest
from kontinuum.foundation.tasks import restarting

ENDING_SECONDS = 5.0
"""How soon a namespace is counted again in which something is being deleted: it may cease to count by time alone."""


class ResourceQuotaReconciler(KeyReconciler):
    """See the module. Keys are the quotas'."""

    name = "resourcequota-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context, RESOURCEQUOTAS)
        self._followed: dict[Resource, Informer] = {}
        self._served: frozenset[Resource] = frozenset()
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """See ``Reconciler``."""
        async with asyncio.TaskGroup() as self._group:
            for informer in self._followed.values():
                self._begin(informer)
            await super().run()

    def look_again(self) -> None:
        """See ``Reconciler``."""
        self._served = frozenset()
        super().look_again()

    async def reconcile(self, key: str) -> Result:
        """Count what is used of one quota, and say so."""
        obj = self._objects.get(key)
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            return DONE
        quota, namespace, now = Quota.of(obj), namespace_of(obj), self._context.clock.time()
        used: Amounts = {}
        is_ending = False
        for resource in await self._resources_of(quota):
            informer = await self._follow(resource)
            objects = informer.by_index(BY_NAMESPACE, namespace)
            used = add(used, total(quota, resource, objects, now))
            is_ending = is_ending or any("deletionTimestamp" in one["metadata"] for one in objects)
        status = status_of(obj, used)
        if status is not None:
            await self._client.update(RESOURCEQUOTAS, {**obj, "status": status}, subresource="status")
        return Result(ENDING_SECONDS) if is_ending else DONE

    async def _resources_of(self, quota: Quota) -> set[Resource]:
        """What the quota speaks of, as far as it is served."""
        if any(name.startswith("count/") for name in quota.hard) and not self._served:
            found = await discover(self._client)
            self._served = frozenset(one.resource for one in found.served if one.resource.namespaced)
        return resources_of(quota.hard, self._served)

    async def _follow(self, resource: Resource) -> Informer:
        """The informer of ``resource``, complete."""
        informer = self._followed.get(resource)
        if informer is None:
            informer = self._followed[resource] = Informer(
                self._client,
                resource,
                clock=self._context.clock,
                indexes={BY_NAMESPACE: by_namespace},
                metadata_only=resource not in READ,
                trim=without_the_rest if resource == PODS else None,
            )
            informer.add_handler(self._object_changed)
            self._begin(informer)
        await informer.wait_synced()
        return informer

    def _begin(self, informer: Informer) -> None:
        assert self._group is not None, "reconcile is called by run"
        name = f"informer {informer.resource.plural} of quotas"
        self._group.create_task(restarting(name, informer.run, clock=self._context.clock))

    def _object_changed(self, change: str, obj: Object, old: Object | None) -> None:
        if change == "updated" and obj == {**(old or {}), "metadata": obj["metadata"]} and not _is_ending(obj):
            return  # Nothing but metadata is new, which no quota counts.
        for quota in self._objects.by_index(BY_NAMESPACE, namespace_of(obj)):
            self._workers.queue.add(key_of(quota))


def _is_ending(obj: Object) -> bool:
    return "deletionTimestamp" in obj["metadata"]
