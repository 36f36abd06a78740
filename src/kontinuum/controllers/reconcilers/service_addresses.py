"""Services of type LoadBalancer get addresses of the operator's pool, and give them back.

    finalizer ──▶ address in the status ──▶ (the node's proxy leads it to the endpoints)
    no longer wanted: status emptied ──▶ finalizer taken away

The finalizer is there before the address and goes after it, so that no Service vanishes with one. Reasons and messages
are those of Kubernetes' service controller (k8s.io/cloud-provider).
"""

from __future__ import annotations

from kontinuum.api.kubernetes.resources import SERVICES
from kontinuum.api.machinery.objects import Object, key_of, uid_of
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.writes import Writer
from kontinuum.controllers.context import Context
from kontinuum.controllers.frame import KeyReconciler
from kontinuum.controllers.lib import loadbalancers
from kontinuum.controllers.lib.loadbalancers import FINALIZER, NoAddress, Pool

AGAIN_SECONDS = 60.0
"""After this time a Service for which there was nothing is thought of again; usually another's end comes first."""


class ServiceAddressesReconciler(KeyReconciler):
    """The hand that gives. One key at a time is worked on: two Services must not get the same address."""

    name = "service-lb-controller"

    def __init__(self, context: Context) -> None:
        self._pool = Pool.parse(context.settings.load_balancer_pool)
        self._class = context.settings.load_balancer_class
        self._held: dict[str, list[str]] = {}
        """What each Service has by its status, as our informer shows it."""
        self._given: dict[str, set[str]] = {}
        """What a Service may have besides: written, or perhaps written, and not shown yet."""
        self._doubtful: set[str] = set()
        """Services of whose last write the outcome is not known: the next one is made in any case."""
        self._waiting: set[str] = set()
        """Services for which there was nothing."""
        super().__init__(context, SERVICES, writes=(SERVICES,), workers=1)
        self._events = context.recorder("service-controller")

    async def reconcile(self, key: str) -> Result:
        """Give one Service what it needs, or take back what it does not need any more."""
        service = self._objects.get(key)
        if service is None:
            return DONE
        writer = Writer(self._client, self._writes, key)
        if loadbalancers.is_wanted(service, self._class):
            return await self._ensure(service, writer)
        if loadbalancers.has_finalizer(service):
            await self._clean_up(service, writer)
        return DONE

    async def _ensure(self, service: Object, writer: Writer) -> Result:
        key = key_of(service)
        has = loadbalancers.addresses_of(service)
        try:
            wanted = loadbalancers.choose(
                service, [*has, *sorted(self._given.get(key, ()))], self._taken_by_others(key), self._pool
            )  # fmt: skip
        except NoAddress as problem:
            self._waiting.add(key)
            failed = f"Error syncing load balancer: failed to ensure load balancer: {problem}"
            self._events.event(service, "Warning", "SyncLoadBalancerFailed", failed)
            return Result(AGAIN_SECONDS)
        if not loadbalancers.has_finalizer(service):
            service = await self._set_finalizers(service, writer, [*_finalizers(service), FINALIZER])
        if _ingress(service) != _shown(wanted) or key in self._doubtful:
            self._events.event(service, "Normal", "EnsuringLoadBalancer", "Ensuring load balancer")
            await self._set_addresses(service, writer, wanted)
            self._events.event(service, "Normal", "EnsuredLoadBalancer", "Ensured load balancer")
        else:
            # Shown, since a key waits for its own writes.
            self._give(key, [])
        return DONE

    async def _clean_up(self, service: Object, writer: Writer) -> None:
        self._events.event(service, "Normal", "DeletingLoadBalancer", "Deleting load balancer")
        if _ingress(service) or key_of(service) in self._given:
            service = await self._set_addresses(service, writer, [])
        await self._set_finalizers(service, writer, [one for one in _finalizers(service) if one != FINALIZER])
        self._events.event(service, "Normal", "DeletedLoadBalancer", "Deleted load balancer")

    async def _set_addresses(self, service: Object, writer: Writer, addresses: list[str]) -> Object:
        key = key_of(service)
        self._doubtful.add(key)
        self._given[key] = self._given.get(key, set()) | set(addresses)
        status = {"loadBalancer": {"ingress": _shown(addresses) or None}}
        patch = {"metadata": {"uid": uid_of(service)}, "status": status}
        answer = await writer.patch(SERVICES, service, patch, subresource="status")
        self._doubtful.discard(key)
        self._give(key, addresses)
        return answer

    def _taken_by_others(self, key: str) -> set[str]:
        held = {address for other, some in self._held.items() if other != key for address in some}
        return held | {address for other, some in self._given.items() if other != key for address in some}

    async def _set_finalizers(self, service: Object, writer: Writer, finalizers: list[str]) -> Object:
        # The version, because the list is replaced as a whole.
        version = service["metadata"]["resourceVersion"]
        metadata = {"resourceVersion": version, "finalizers": finalizers or None}
        return await writer.patch(SERVICES, service, {"metadata": metadata})

    def _hold(self, key: str, addresses: list[str]) -> None:
        before = self._held.pop(key, [])
        if addresses:
            self._held[key] = addresses
        self._wake(set(before) - set(addresses))

    def _give(self, key: str, addresses: list[str]) -> None:
        before = self._given.pop(key, set())
        if addresses:
            self._given[key] = set(addresses)
        self._wake(before - set(addresses))

    def _wake(self, released: set[str]) -> None:
        if released:
            for one in self._waiting:
                self._workers.queue.add(one)
            self._waiting.clear()

    def _object_changed(self, change: str, obj: Object, old: Object | None) -> None:
        key = key_of(obj)
        if change == "deleted":
            self._waiting.discard(key)
            self._doubtful.discard(key)
            self._give(key, [])
            self._hold(key, [])
            return
        has = loadbalancers.addresses_of(obj)
        if old is None or has != loadbalancers.addresses_of(old):
            # Whoever gave it, nobody else may have it.
            self._hold(key, has)
        if obj["spec"].get("type") == "LoadBalancer" or loadbalancers.has_finalizer(obj):
            super()._object_changed(change, obj, old)


def _finalizers(service: Object) -> list[str]:
    return list(service["metadata"].get("finalizers") or ())


def _ingress(service: Object) -> list[Object]:
    return list(((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ())


def _shown(addresses: list[str]) -> list[Object]:
    """``ipMode`` VIP: packets arrive with this address, as they were sent (KEP-1860)."""
    return [{"ip": address, "ipMode": "VIP"} for address in addresses]
