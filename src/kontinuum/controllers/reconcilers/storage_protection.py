"""Storage that is deleted while somebody uses it stays until nobody does: the protection finalizers (KEP-1790).

    PersistentVolumeClaim    stays while a pod that has a node names it
    PersistentVolume         stays while it is bound
    VolumeAttributesClass    stays while a claim or volume has it, or is about to

The finalizers are set by admission (``StorageObjectInUseProtection``). Before one is removed the API is asked, because
a pod that our informers have not heard of yet would lose its data.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial

from kontinuum.api.kubernetes.claims import attributes_classes_of
from kontinuum.api.kubernetes.protection import FINALIZERS
from kontinuum.api.kubernetes.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, VOLUMEATTRIBUTESCLASSES
from kontinuum.api.machinery.objects import Object, name_of, namespace_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.rest import Client
from kontinuum.controllers.context import Context
from kontinuum.controllers.frame import KeyReconciler
from kontinuum.controllers.lib.claims import claims_of

LATER = 5.0
"""Seconds until a deleted object that is in use is looked at again; usually its last user's end is heard before."""


def is_waiting(obj: Object, finalizer: str) -> bool:
    """True for a deleted object that nothing of ours has let go of yet."""
    metadata = obj["metadata"]
    return "deletionTimestamp" in metadata and finalizer in (metadata.get("finalizers") or ())


def is_claim_used(claim: Object, pods: Iterable[Object]) -> bool:
    """A pod without a node does not count: none would start it with a claim that is being deleted."""
    return any(
        (pod.get("spec") or {}).get("nodeName") and name_of(claim) in claims_of(pod)
        for pod in pods
        if namespace_of(pod) == namespace_of(claim)
    )


def is_volume_used(volume: Object) -> bool:
    return (volume.get("status") or {}).get("phase") == "Bound"


def is_class_used(name: str, claims: Iterable[Object], volumes: Iterable[Object]) -> bool:
    return any(name in attributes_classes_of(claim) for claim in claims) or any(
        (volume.get("spec") or {}).get("volumeAttributesClassName") == name for volume in volumes
    )


@dataclass(frozen=True, slots=True)
class _Protected:
    """One of the three kinds; ``is_used`` asks the API."""

    resource: Resource
    name: str
    is_used: Callable[[Client, Object], Awaitable[bool]]


async def _claim_in_use(client: Client, claim: Object) -> bool:
    return is_claim_used(claim, (await client.list(PODS, namespace=namespace_of(claim))).items)


async def _volume_in_use(client: Client, volume: Object) -> bool:
    return is_volume_used(volume)


async def _class_in_use(client: Client, attributes_class: Object) -> bool:
    claims, volumes = await client.list(PERSISTENTVOLUMECLAIMS), await client.list(PERSISTENTVOLUMES)
    return is_class_used(name_of(attributes_class), claims.items, volumes.items)


KINDS = (
    _Protected(PERSISTENTVOLUMECLAIMS, "persistentvolumeclaim-protection-controller", _claim_in_use),
    _Protected(PERSISTENTVOLUMES, "persistentvolume-protection-controller", _volume_in_use),
    _Protected(VOLUMEATTRIBUTESCLASSES, "volumeattributesclass-protection-controller", _class_in_use),
)


class StorageProtection(KeyReconciler):
    """Lets go of the objects of one kind. Keys are theirs."""

    def __init__(self, context: Context, kind: _Protected) -> None:
        self.name = kind.name
        super().__init__(context, kind.resource)
        self._kind = kind
        self._finalizer = FINALIZERS[kind.resource]
        if kind.resource is PERSISTENTVOLUMECLAIMS:
            context.informer(PODS).add_handler(self._pod_changed)

    async def reconcile(self, key: str) -> Result:
        """Let one object go, if nobody uses it."""
        obj = self._objects.get(key)
        if obj is None or not is_waiting(obj, self._finalizer):
            return DONE
        if await self._kind.is_used(self._client, obj):
            return Result(LATER)
        finalizers = [one for one in obj["metadata"]["finalizers"] if one != self._finalizer]
        await self._client.update(
            self._kind.resource, {**obj, "metadata": {**obj["metadata"], "finalizers": finalizers}}
        )
        return DONE

    def _object_changed(self, change: str, obj: Object, old: Object | None) -> None:
        if change != "deleted" and is_waiting(obj, self._finalizer):
            super()._object_changed(change, obj, old)

    def _pod_changed(self, change: str, pod: Object, old: Object | None) -> None:
        """The last user's end is the moment to look."""
        if change == "deleted":
            for claim in claims_of(pod):
                self._workers.queue.add(f"{namespace_of(pod)}/{claim}")


def protections() -> dict[str, Callable[[Context], StorageProtection]]:
    """How each kind's controller is made, by its name."""
    return {kind.name: partial(StorageProtection, kind=kind) for kind in KINDS}
