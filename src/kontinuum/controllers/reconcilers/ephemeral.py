"""Ephemeral volumes: each gets a claim of its own, ``<pod>-<volume>``, which the pod owns (KEP-1698)."""

from __future__ import annotations

from kontinuum.api.kubernetes.claims import ClaimedVolume, claimed_volumes, is_made_for
from kontinuum.api.kubernetes.resources import PERSISTENTVOLUMECLAIMS, PODS
from kontinuum.api.machinery.objects import Object, key_of, name_of, namespace_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.writes import Writer
from kontinuum.controllers.context import BY_CLAIM, Context
from kontinuum.controllers.frame import KeyReconciler
from kontinuum.controllers.lib.owners import controller_of, controller_reference
from kontinuum.controllers.lib.pods import is_leaving
from kontinuum.foundation.errors import Refused


class NotThePods(Refused):
    """A claim has the name, but belongs to somebody else."""


def new_claim(pod: Object, volume: Object) -> Object:
    """The claim of one ephemeral volume, as its template says."""
    template = volume["ephemeral"].get("volumeClaimTemplate") or {}
    metadata = {
        key: value for key, value in (template.get("metadata") or {}).items() if key in ("labels", "annotations")
    }
    metadata |= {
        "name": f"{name_of(pod)}-{volume['name']}",
        "namespace": namespace_of(pod),
        "ownerReferences": [controller_reference(pod, PODS)],
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": template.get("spec") or {},
    }


class EphemeralVolumesReconciler(KeyReconciler):
    """Makes what is missing. Keys are pods."""

    name = "ephemeral-volume"

    def __init__(self, context: Context) -> None:
        super().__init__(context, PODS, writes=(PERSISTENTVOLUMECLAIMS,))
        self._claims = context.informer(PERSISTENTVOLUMECLAIMS)
        self._events = context.recorder("ephemeral_volume")
        self._claims.add_handler(self._claim_changed)

    def look_again(self) -> None:
        """See ``Reconciler``."""
        for pod in self._objects.items():
            self._object_changed("added", pod, None)

    async def reconcile(self, key: str) -> Result:
        """Make the claims of one pod."""
        pod = self._objects.get(key)
        if pod is None or is_leaving(pod):
            return DONE
        writer = Writer(self._client, self._writes, key)
        by_name = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
        for one in claimed_volumes(pod):
            if one.is_ephemeral:
                await self._settle(pod, one, by_name[one.volume], writer)
        return DONE

    async def _settle(self, pod: Object, claimed: ClaimedVolume, volume: Object, writer: Writer) -> None:
        existing = self._claims.get(f"{namespace_of(pod)}/{claimed.claim}")
        try:
            if existing is None:
                await writer.create(PERSISTENTVOLUMECLAIMS, new_claim(pod, volume))
            elif not is_made_for(existing, pod):
                where = f"{namespace_of(pod)}/{claimed.claim}"
                text = f"PVC {where} was not created for pod {key_of(pod)} (pod is not owner)"
                raise NotThePods(text)
        except ApiError as error:
            if not error.is_namespace_terminating and not error.is_already_exists:
                self._tell(pod, claimed, f"create PVC {claimed.claim}: {error.message}")
            raise
        except NotThePods as error:
            self._tell(pod, claimed, str(error))
            raise

    def _tell(self, pod: Object, claimed: ClaimedVolume, problem: str) -> None:
        self._events.event(pod, "Warning", "FailedBinding", f"ephemeral volume {claimed.volume}: {problem}")

    def _object_changed(self, change: str, obj: Object, old: Object | None) -> None:
        if change == "added" and any(one.is_ephemeral for one in claimed_volumes(obj)):
            self._workers.queue.add(key_of(obj))

    def _claim_changed(self, change: str, claim: Object, old: Object | None) -> None:
        """One that is gone is made again; one that stood in the way no longer does."""
        if change != "deleted":
            return
        owner = controller_of(claim)
        if owner is not None and owner["kind"] == PODS.kind:
            self._workers.queue.add(f"{namespace_of(claim)}/{owner['name']}")
        for pod in self._objects.by_index(BY_CLAIM, key_of(claim)):
            self._object_changed("added", pod, None)
