"""What must be done about a pod's volumes before it may be bound: VolumeBinding's Reserve and PreBind.

    decided ──reserve──▶ volumes are set aside ──before_binding──▶ volumes claimed, nodes selected
                                                                      │ the controllers bind, provisioners provision
                                    released: decided anew ◀─refused──┴──all claims are bound──▶ the pod is bound

Every write names the version that the decision was made on: what somebody else took in between is refused. What has
been written is not taken back when a binding fails: a volume that is bound to the pod's claim is still the pod's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence

from kontinuum.api.kubernetes import binding
from kontinuum.api.kubernetes.resources import (
    CSINODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    VOLUMEATTACHMENTS,
)
from kontinuum.api.machinery.objects import Object, annotations_of, name_of, split_key, uid_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.informer import Change, Informer
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import Clock
from kontinuum.scheduler.companion import BindingRefused, Tell
from kontinuum.scheduler.events import Event
from kontinuum.scheduler.snapshot import Snapshot
from kontinuum.scheduler.storage import matching
from kontinuum.scheduler.storage.state import INDEXES, KINDS, Reservation
from kontinuum.scheduler.storage.trims import trim_attachment, trim_claim, trim_csi_node, trim_volume
from kontinuum.scheduler.storage.wishes import read_wishes

BIND_SECONDS = 600.0
"""How long a binding may take (``bindTimeoutSeconds`` of the plugin's arguments)."""
LOOK_SECONDS = 1.0
"""How often we look whether the pod is still there; what becomes of its claims is heard at once."""
TRIMS: Mapping[Resource, Callable[[Object], Object]] = {
    PERSISTENTVOLUMECLAIMS: trim_claim,
    PERSISTENTVOLUMES: trim_volume,
    CSINODES: trim_csi_node,
    VOLUMEATTACHMENTS: trim_attachment,
}


class Volumes:
    """See the module."""

    def __init__(self, client: Client, clock: Clock, snapshot: Snapshot, tell: Tell) -> None:
        self._client = client
        self._snapshot = snapshot
        self._storage = snapshot.storage
        self._tell = tell
        self._changed = asyncio.Event()
        self._followed = {
            kind: Informer(client, kind, clock=clock, indexes=INDEXES.get(kind), trim=TRIMS.get(kind))
            for kind in (*KINDS, CSINODES, VOLUMEATTACHMENTS)
        }
        self.informers: Sequence[Informer] = tuple(self._followed.values())
        self._claims, self._volumes = self._followed[PERSISTENTVOLUMECLAIMS], self._followed[PERSISTENTVOLUMES]
        self._storage.shelves = {kind: self._followed[kind] for kind in KINDS}
        self._followed[CSINODES].add_handler(self._limits_changed)
        self._followed[VOLUMEATTACHMENTS].add_handler(self._attachment_changed)
        for kind, informer in self._followed.items():
            informer.add_handler(self._news_of(kind))

    def reserve(self, pod: Object, node: str) -> None:
        """See ``Companion``."""
        wishes = read_wishes(pod)
        if wishes.claims:
            self._storage.reserve(uid_of(pod), matching.plan(wishes, self._storage, self._snapshot, node))

    def release(self, pod: Object, node: str) -> None:
        """See ``Companion``."""
        if self._storage.release(uid_of(pod)):
            # What was set aside may be just what another pod waits for, and no object has changed.
            self._tell(Event(PERSISTENTVOLUMES.kind, "updated", pod))

    async def before_binding(self, pod: Object, node: str) -> None:
        """See ``Companion``: has the pod's claims bound, or raises BindingRefused."""
        reservation = self._storage.reservation(uid_of(pod))
        if reservation is None:
            return
        try:
            written = await self._write(reservation)
            async with asyncio.timeout(BIND_SECONDS):
                while not self._is_done(pod, reservation, written):
                    self._changed.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_SECONDS):
                            await self._changed.wait()
        except TimeoutError as error:
            raise _refused("binding volumes: context deadline exceeded") from error
        except ApiError as error:
            raise _refused(error.message) from error
        self._storage.release(uid_of(pod))

    async def _write(self, reservation: Reservation) -> list[tuple[Informer, str]]:
        """Claim the volumes, and have the others made on the node; the versions that this has made."""
        written: list[tuple[Informer, str]] = []
        for name, key in reservation.volumes:
            volume, claim = self._volumes.get(name), self._claims.get(key)
            if volume is None or claim is None:
                raise _refused(f'binding volumes: persistentvolume "{name}" or claim "{key}" is gone')
            bound = binding.bound_volume(volume, claim)
            patch = {
                "metadata": {**_exactly(volume), "annotations": annotations_of(bound)},
                "spec": {"claimRef": bound["spec"]["claimRef"]},
            }
            answer = await self._client.patch(PERSISTENTVOLUMES, name, patch)
            written.append((self._volumes, answer["metadata"]["resourceVersion"]))
        for key in reservation.provisions:
            claim = self._claims.get(key)
            if claim is None:
                raise _refused(f'binding volumes: claim "{key}" is gone')
            if annotations_of(claim).get(binding.SELECTED_NODE) == reservation.node:
                continue
            annotations = {binding.SELECTED_NODE: reservation.node}
            patch = {"metadata": {**_exactly(claim), "annotations": annotations}}
            namespace, name = split_key(key)
            answer = await self._client.patch(PERSISTENTVOLUMECLAIMS, name, patch, namespace=namespace)
            written.append((self._claims, answer["metadata"]["resourceVersion"]))
        return written

    def _is_done(self, pod: Object, reservation: Reservation, written: Sequence[tuple[Informer, str]]) -> bool:
        """True once all claims are bound. Raises BindingRefused if that will not come."""
        if self._snapshot.pod_node(uid_of(pod)) != reservation.node:
            raise _refused("binding volumes: pod does not exist any more")
        if not all(informer.has_seen(version) for informer, version in written):
            return False  # What we see is older than what we wrote, and would pass for somebody's undoing it.
        done = True
        for name, key in reservation.volumes:
            volume, claim = self._volumes.get(name), self._claims.get(key)
            if volume is None or claim is None:
                raise _refused(f'binding volumes: failed to check binding: "{name}" or its claim is gone')
            done &= binding.is_bound(claim)
        for key in reservation.provisions:
            done &= self._is_provisioned(key, reservation.node)
        return done

    def _is_provisioned(self, key: str, node: str) -> bool:
        claim = self._claims.get(key)
        if claim is None:
            raise _refused(f'binding volumes: failed to check provisioning pvc: "{key}" is gone')
        name = split_key(key)[1]
        if annotations_of(claim).get(binding.SELECTED_NODE) != node:
            raise _refused(f'binding volumes: provisioning failed for PVC "{name}"')
        if not binding.is_bound(claim):
            return False
        volume = self._volumes.get(binding.volume_of(claim))
        if volume is None:
            return False  # Not heard of yet.
        row = self._snapshot.row_of.get(node)
        if row is None or not matching.reach(volume, self._snapshot)[row]:
            text = f'pv "{name_of(volume)}" node affinity doesn\'t match node "{node}": no matching NodeSelectorTerms'
            raise _refused(f"binding volumes: {text}")
        return True

    def _news_of(self, kind: Resource) -> Callable[[Change, Object, Object | None], None]:
        def changed(change: Change, obj: Object, old: Object | None) -> None:
            if old is not None and _same(obj, old):
                return
            self._storage.version += 1
            self._changed.set()
            self._tell(Event(kind.kind, change, obj, old))

        return changed

    def _limits_changed(self, change: Change, node: Object, old: Object | None) -> None:
        drivers = {} if change == "deleted" else (node.get("spec") or {}).get("drivers") or ()
        counts = {
            one["name"]: one["allocatable"]["count"]
            for one in drivers
            if (one.get("allocatable") or {}).get("count") is not None
        }
        self._storage.set_limits(name_of(node), counts)

    def _attachment_changed(self, change: Change, attachment: Object, old: Object | None) -> None:
        spec = attachment["spec"]
        volume = "" if change == "deleted" else (spec.get("source") or {}).get("persistentVolumeName") or ""
        self._storage.set_attachment(name_of(attachment), spec.get("nodeName", ""), volume)


def _refused(problem: str) -> BindingRefused:
    return BindingRefused(f'running PreBind plugin "VolumeBinding": {problem}')


def _exactly(obj: Object) -> Object:
    return {"uid": uid_of(obj), "resourceVersion": obj["metadata"]["resourceVersion"]}


def _same(obj: Object, old: Object) -> bool:
    """Nothing of what is kept has changed."""
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": ""}} == {
        **old,
        "metadata": {**old["metadata"], "resourceVersion": ""},
    }
