"""The garbage collector: what has lost its last owner goes, of whatever kind.

It follows the metadata of everything that discovery names and keeps the graph of owners (``lib.graph``). The graph only
suggests: before anything is removed the API itself is asked, and told to act only on the very version that was judged.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from functools import partial

import structlog

from kontinuum.api.machinery.objects import Object, uid_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.discovery import Discovery, discover
from kontinuum.client.informer import Informer
from kontinuum.client.reconcile import DONE, Result, Workers
from kontinuum.controllers.context import Context
from kontinuum.controllers.lib.graph import Graph, Node, Owner, OwnerState, Plan, node_of, plan, references_without
from kontinuum.foundation.errors import Retryable
from kontinuum.foundation.tasks import cancel, restarting

log = structlog.get_logger(__name__)

REDISCOVER_SECONDS = 60.0
"""How long a kind that is new to the server may go uncollected, if nothing tells of it."""
TELLING = frozenset({"customresourcedefinitions", "apiservices"})
"""Resources whose changes say that other kinds are served now."""
RENEWED = frozenset({"leases.coordination.k8s.io"})
"""Resources whose objects change all the time without anything for us in it: they are listed, not watched."""
QUIET_SECONDS = 60.0
"""How long a child of such a kind that comes after its owner has gone may stay."""
GATHER_SECONDS = 1.0
"""How long such changes are gathered: charts bring many definitions, each of which is written several times."""
UNKNOWN_SECONDS = 60.0
"""When to look again at a child whose owner's kind nobody serves (any more, or yet)."""
RETRY_SECONDS = 2.0
"""When to ask again while the server is away."""
SYNC_SECONDS = 30.0
"""How long to wait for the first look at everything."""
ABSENT_REMEMBERED = 500
"""Owners known to be gone; a uid never comes back, so their other children need not ask again."""
_KEPT = ("name", "namespace", "uid", "resourceVersion", "ownerReferences", "finalizers", "deletionTimestamp")


class GarbageCollector:
    """The hand that carries ``plan`` out. Keys are uids."""

    name = "garbage-collector"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._client = context.client
        self._graph = Graph()
        self._kinds: dict[tuple[str, str], Resource] = {}
        self._followed: dict[Resource, tuple[Informer, asyncio.Task[None] | None]] = {}
        self._shared: set[Resource] = set()
        self._is_served_anew = asyncio.Event()
        self._absent: OrderedDict[str, None] = OrderedDict()
        self._workers = Workers(self.name, self.reconcile, count=context.settings.workers)

    async def run(self) -> None:
        """See ``Reconciler``."""
        try:
            while not await self._rediscover():
                await self._context.clock.sleep(RETRY_SECONDS)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._workers.run())
                group.create_task(self._keep_discovering())
        finally:
            await cancel(*(task for _, task in self._followed.values() if task is not None))
            self._followed.clear()

    def look_again(self) -> None:
        """See ``Reconciler``."""
        for uid in self._graph.uids():
            node = self._graph.get(uid)
            if node is not None and (node.owners or node.is_leaving):
                self._workers.queue.add(uid)

    async def reconcile(self, key: str) -> Result:
        """Look at one object, and do the one thing that it needs."""
        suspect = self._graph.get(key)
        if suspect is None or await self._decide(suspect) == Plan():
            return self._again(suspect)
        try:
            obj = await self._get(suspect)
        except ApiError as error:
            if error.is_not_found:
                return DONE
            raise
        if uid_of(obj) != key:
            return DONE
        node = node_of(suspect.resource, obj)
        await self._carry_out(node, obj, await self._decide(node))
        return DONE

    async def _decide(self, node: Node) -> Plan:
        if node.is_leaving:
            return plan(node, {}, self._graph.dependents(node.uid))
        owners = {owner.uid: await self._owner_state(node, owner) for owner in node.owners}
        return plan(node, owners, self._graph.dependents(node.uid))

    async def _owner_state(self, node: Node, owner: Owner) -> OwnerState:
        """The graph's word if it knows the owner, else the API's."""
        known = self._graph.get(owner.uid)
        if known is not None:
            return OwnerState.WAITING if known.waits_for_dependents else OwnerState.SOLID
        if owner.uid in self._absent:
            return OwnerState.ABSENT
        resource = self._kinds.get((owner.api_version.rpartition("/")[0], owner.kind))
        if resource is None or (resource.namespaced and not node.namespace):
            return OwnerState.UNKNOWN
        namespace = node.namespace if resource.namespaced else ""
        try:
            found = await self._client.get(resource, owner.name, namespace=namespace, metadata_only=True)
        except ApiError as error:
            if not error.is_not_found:
                raise
            found = {"metadata": {}}
        if uid_of(found) != owner.uid:
            self._remember_absent(owner.uid)
            return OwnerState.ABSENT
        waits = node_of(resource, found).waits_for_dependents
        return OwnerState.WAITING if waits else OwnerState.SOLID

    async def _carry_out(self, node: Node, obj: Object, step: Plan) -> None:
        for uid in step.look_at:
            self._workers.queue.add(uid)
        for dependent in step.orphan:
            await self._release(dependent, node.uid)
        if step.drop_finalizer:
            finalizers = [one for one in node.finalizers if one != step.drop_finalizer]
            await self._patch(node, {"finalizers": finalizers or None})
        if step.drop_owners:
            await self._patch(node, {"ownerReferences": references_without(obj, step.drop_owners) or None})
        if step.unblock:
            references = [{**one, "blockOwnerDeletion": False} for one in obj["metadata"]["ownerReferences"]]
            obj = await self._patch(node, {"ownerReferences": references})
        if step.delete:
            log.info("collecting", resource=node.resource.qualified, namespace=node.namespace, name=node.name)
            await self._client.delete(
                node.resource,
                node.name,
                namespace=node.namespace,
                uid=node.uid,
                resource_version=obj["metadata"]["resourceVersion"],
                propagation=step.delete,
            )

    async def _release(self, dependent: Node, owner_uid: str) -> None:
        """Make the dependent an orphan; one that is gone needs nothing."""
        try:
            obj = await self._get(dependent)
        except ApiError as error:
            if error.is_not_found:
                return
            raise
        references = references_without(obj, [owner_uid])
        if uid_of(obj) == dependent.uid and references != obj["metadata"].get("ownerReferences", []):
            await self._patch(node_of(dependent.resource, obj), {"ownerReferences": references or None})

    async def _get(self, node: Node) -> Object:
        return await self._client.get(node.resource, node.name, namespace=node.namespace, metadata_only=True)

    async def _patch(self, node: Node, metadata: Object) -> Object:
        """Change metadata of exactly the version that was judged. Raises Conflict if there is a newer one."""
        patch = {"metadata": {**metadata, "uid": node.uid, "resourceVersion": node.version}}
        return await self._client.patch(node.resource, node.name, patch, namespace=node.namespace)

    def _again(self, node: Node | None) -> Result:
        """Children of kinds that nobody serves are looked at now and then: the kind may come back."""
        owners = node.owners if node is not None and not node.is_leaving else ()
        unknown = any(self._graph.get(one.uid) is None and one.uid not in self._absent for one in owners)
        return Result(UNKNOWN_SECONDS if unknown else None)

    def _remember_absent(self, uid: str) -> None:
        self._absent[uid] = None
        if len(self._absent) > ABSENT_REMEMBERED:
            self._absent.popitem(last=False)

    async def _keep_discovering(self) -> None:
        while True:
            waiting = asyncio.create_task(self._is_served_anew.wait())
            pause = asyncio.create_task(self._context.clock.sleep(REDISCOVER_SECONDS))
            try:
                await asyncio.wait([waiting, pause], return_when=asyncio.FIRST_COMPLETED)
            finally:
                await cancel(waiting, pause)
            await self._context.clock.sleep(GATHER_SECONDS)
            self._is_served_anew.clear()
            await self._rediscover()

    async def _rediscover(self) -> bool:
        """Follow what is served now; False if the server cannot say."""
        try:
            await self._follow_what_is_served()
        except (ApiError, Retryable) as error:
            log.info("what is served cannot be discovered now", error=str(error))
            return False
        return True

    async def _follow_what_is_served(self) -> None:
        """Follow every collectable resource, and stop following what is no longer served."""
        discovery = await discover(self._client)
        wanted = list(_collectable(discovery))
        known = self._kinds.keys()
        self._kinds = {(one.resource.group, one.resource.kind): one.resource for one in discovery.served}
        if self._kinds.keys() - known:
            self.look_again()  # Owners of kinds that nobody knew can be asked for now.
        for resource in wanted:
            if resource not in self._followed:
                self._follow(resource)
        if not discovery.failed:
            for resource in set(self._followed) - set(wanted):
                await self._unfollow(resource)
        try:
            async with asyncio.timeout(SYNC_SECONDS):
                for informer, _ in list(self._followed.values()):
                    await informer.wait_synced()
        except TimeoutError:
            # One broken API must not stop all collection. What is missing from the graph is asked of the API anyway.
            missing = [kind.qualified for kind, (informer, _) in self._followed.items() if not informer.is_synced]
            log.warning("collecting without a complete graph", missing=missing)

    def _follow(self, resource: Resource) -> None:
        """What another reconciler follows anyway is not asked for twice; its informer is run by others."""
        shared = next((kind for kind in self._context.informers if kind.path() == resource.path()), None)
        if shared is not None:
            self._followed[resource] = (self._context.informers[shared], None)
            if resource not in self._shared:
                self._shared.add(resource)
                self._context.informers[shared].add_handler(partial(self._changed, resource))
            return
        clock = self._context.clock
        if resource.qualified in RENEWED:
            informer = Informer(
                self._client, resource, clock=clock, metadata_only=True, trim=_trim_renewed, every=QUIET_SECONDS
            )
        else:
            informer = Informer(self._client, resource, clock=clock, metadata_only=True, trim=_trim)
        informer.add_handler(partial(self._changed, resource))
        name = f"garbage collection of {resource.qualified}"
        self._followed[resource] = (informer, asyncio.create_task(restarting(name, informer.run, clock=clock)))

    async def _unfollow(self, resource: Resource) -> None:
        _, task = self._followed.pop(resource)
        if task is not None:
            await cancel(task)
        self._forget(resource)

    def _forget(self, resource: Resource) -> None:
        """Its objects went with it."""
        for uid in self._graph.uids():
            node = self._graph.get(uid)
            if node is not None and node.resource == resource:
                for other in self._graph.remove(uid):
                    self._workers.queue.add(other)

    def _changed(self, resource: Resource, change: str, obj: Object, old: Object | None) -> None:
        if resource.plural in TELLING:
            self._is_served_anew.set()
        node = node_of(resource, obj)
        uids = self._graph.remove(node.uid) if change == "deleted" else self._graph.observe(node)
        for uid in uids:
            self._workers.queue.add(uid)


def _collectable(discovery: Discovery) -> Iterable[Resource]:
    """Everything that can be listed, watched and deleted; events come and go too quickly, and own nothing."""
    for served in discovery.served:
        if {"list", "watch", "delete"} <= served.verbs and served.resource.plural != "events":
            yield served.resource


def _trim(obj: Object) -> Object:
    return {"metadata": {key: obj["metadata"][key] for key in _KEPT if key in obj["metadata"]}}


def _trim_renewed(obj: Object) -> Object:
    """A renewal is no news, and so the version is none."""
    trimmed = _trim(obj)
    del trimmed["metadata"]["resourceVersion"]
    return trimmed
