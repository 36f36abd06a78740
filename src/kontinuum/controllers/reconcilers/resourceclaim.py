"""ResourceClaims: made from templates for the pods that ask so, freed when their pods are done."""

from __future__ import annotations

from kontinuum.api.kubernetes.resources import PODS, RESOURCECLAIMS, RESOURCECLAIMTEMPLATES
from kontinuum.api.machinery.objects import Object, key_of, name_of, namespace_of, uid_of
from kontinuum.api.machinery.status import ApiError, not_found
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.writes import Writer
from kontinuum.controllers.context import BY_CONTROLLER, Context
from kontinuum.controllers.frame import KeyReconciler
from kontinuum.controllers.lib import resource_claims
from kontinuum.controllers.lib.owners import controller_of
from kontinuum.controllers.lib.resource_claims import FINALIZER

POD, CLAIM = "pod:", "claim:"
"""What a key is about."""


class ResourceClaimReconciler(KeyReconciler):
    """The hand that makes and frees them."""

    name = "resourceclaim-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context, RESOURCECLAIMS, writes=(PODS, RESOURCECLAIMS))
        self._templates = context.informer(RESOURCECLAIMTEMPLATES)
        self._pods = context.informer(PODS)
        self._events = context.recorder("resource_claim")
        self._pods.add_handler(self._pod_changed)

    def look_again(self) -> None:
        """See ``Reconciler``."""
        for key in self._objects.all_keys():
            self._workers.queue.add(CLAIM + key)
        for pod in self._pods.items():
            self._pod_changed("added", pod, None)

    async def reconcile(self, key: str) -> Result:
        """See that one pod has its claims, or one claim only such users as it still has."""
        writer = Writer(self._client, self._writes, key)
        if key.startswith(POD):
            pod = self._pods.get(key.removeprefix(POD))
            if pod is not None and "deletionTimestamp" not in pod["metadata"] and not resource_claims.is_done(pod):
                await self._provide(pod, writer)
            return DONE
        claim = self._objects.get(key.removeprefix(CLAIM))
        if claim is not None:
            await self._keep_up(claim, writer)
        return DONE

    async def _provide(self, pod: Object, writer: Writer) -> None:
        names = {}
        owned = self._objects.by_index(BY_CONTROLLER, uid_of(pod))
        for entry in resource_claims.by_template(pod):
            claim = resource_claims.made_for(pod, entry, owned)
            if claim is None:
                claim = await self._make(pod, entry, writer)
            names[entry["name"]] = name_of(claim)
        wanted = resource_claims.statuses(pod, names)
        if names and _by_name(wanted) != _by_name((pod.get("status") or {}).get("resourceClaimStatuses") or []):
            # The version, because the list is replaced as a whole.
            metadata = {"resourceVersion": pod["metadata"]["resourceVersion"]}
            patch = {"metadata": metadata, "status": {"resourceClaimStatuses": wanted}}
            await writer.patch(PODS, pod, patch, subresource="status")

    async def _make(self, pod: Object, entry: Object, writer: Writer) -> Object:
        """Raises ApiError."""
        name, namespace = entry["resourceClaimTemplateName"], namespace_of(pod)
        template = self._templates.get(f"{namespace}/{name}")
        try:
            if template is None:
                missing = not_found(RESOURCECLAIMTEMPLATES, name)
                raise ApiError(404, "NotFound", f'resource claim template "{name}": {missing}')
            claim = resource_claims.new_claim(
                pod, entry, template, lambda taken: self._objects.get(f"{namespace}/{taken}") is not None
            )  # fmt: skip
            return await self._create(pod, claim, writer)
        except ApiError as error:
            if not error.is_namespace_terminating:
                message = f"PodResourceClaim {entry['name']}: {error}"
                self._events.event(pod, "Warning", "FailedResourceClaimCreation", message)
            raise

    async def _create(self, pod: Object, claim: Object, writer: Writer) -> Object:
        try:
            return await writer.create(RESOURCECLAIMS, claim)
        except ApiError as error:
            if not error.is_already_exists:
                raise
        # We made it before and have not heard of it; or it is somebody else's, and then another name is due soon.
        found = await self._client.get(RESOURCECLAIMS, name_of(claim), namespace=namespace_of(claim))
        if (controller_of(found) or {}).get("uid") != uid_of(pod):
            raise ApiError(409, "AlreadyExists", f"resource claim {name_of(claim)} is not the pod's")
        return found

    async def _keep_up(self, claim: Object, writer: Writer) -> None:
        namespace = namespace_of(claim)
        gone = {one["uid"] for one in (claim.get("status") or {}).get("reservedFor") or () if one.get("name")
                and await self._is_gone(namespace, one)}  # fmt: skip
        reference = controller_of(claim)
        owner = None
        if reference is not None and reference["kind"] == PODS.kind:
            owner = self._pods.get(f"{namespace}/{reference['name']}")
        todo = resource_claims.upkeep(claim, is_gone=lambda one: one["uid"] in gone, owner=owner)
        if todo.status is not None:
            claim = await writer.update(RESOURCECLAIMS, {**claim, "status": todo.status}, subresource="status")
        if todo.releases:
            finalizers = [one for one in claim["metadata"].get("finalizers") or () if one != FINALIZER]
            metadata = {**claim["metadata"], "finalizers": finalizers}
            claim = await writer.update(RESOURCECLAIMS, {**claim, "metadata": metadata})
        if todo.deletes:
            await writer.delete(RESOURCECLAIMS, claim)

    async def _is_gone(self, namespace: str, user: Object) -> bool:
        """A pod that we have not heard of may be just being placed: then the API is asked."""
        if user.get("apiGroup") or user.get("resource") != PODS.plural:
            return False
        pod = self._pods.get(f"{namespace}/{user['name']}")
        if pod is None:
            try:
                pod = await self._client.get(PODS, user["name"], namespace=namespace)
            except ApiError as error:
                if error.is_not_found:
                    return True
                raise
        return uid_of(pod) != user["uid"] or resource_claims.is_done(pod)

    def _object_changed(self, change: str, obj: Object, old: Object | None) -> None:
        self._workers.queue.add(CLAIM + key_of(obj))
        reference = controller_of(obj)
        if change == "deleted" and reference is not None and reference["kind"] == PODS.kind:
            self._workers.queue.add(f"{POD}{namespace_of(obj)}/{reference['name']}")

    def _pod_changed(self, change: str, pod: Object, old: Object | None) -> None:
        """Its own needs, and the claims that it may have done with."""
        if not (pod.get("spec") or {}).get("resourceClaims"):
            return
        self._workers.queue.add(POD + key_of(pod))
        if change == "deleted" or resource_claims.is_done(pod):
            made = (pod.get("status") or {}).get("resourceClaimStatuses") or ()
            shared = (one.get("resourceClaimName") for one in (*made, *pod["spec"]["resourceClaims"]))
            for name in filter(None, shared):
                self._workers.queue.add(f"{CLAIM}{namespace_of(pod)}/{name}")


def _by_name(statuses: list[Object]) -> list[Object]:
    return sorted(statuses, key=lambda one: str(one["name"]))
