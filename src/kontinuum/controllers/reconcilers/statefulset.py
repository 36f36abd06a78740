"""StatefulSets: the hand that carries ``lib.statefulsets`` out.

A pod's claims are there before the pod is. No pod is made twice: an ordinal is a name, and the API gives a name once.
"""

from __future__ import annotations

from collections.abc import Sequence

from kontinuum.api.kubernetes.resources import CONTROLLERREVISIONS, PERSISTENTVOLUMECLAIMS, PODS, STATEFULSETS
from kontinuum.api.machinery.objects import Object, key_of, labels_of, name_of
from kontinuum.api.machinery.selectors import from_object
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.shapes import MADE
from kontinuum.client.writes import Writer
from kontinuum.controllers.adoption import settle_claim
from kontinuum.controllers.context import Context, children
from kontinuum.controllers.frame import OwnerReconciler
from kontinuum.controllers.history import HashCollision, count_collision, forget_surplus, keep_history
from kontinuum.controllers.lib import owners, statefulsets
from kontinuum.controllers.lib.batches import slow_start
from kontinuum.controllers.lib.pods import phase_of
from kontinuum.controllers.lib.revisions import HASH_LABEL, History
from kontinuum.controllers.lib.statefulsets import Plan, Revisions


class StatefulSetReconciler(OwnerReconciler):
    """See the module."""

    name = "statefulset"

    def __init__(self, context: Context) -> None:
        super().__init__(
            context, STATEFULSETS, PODS, writes=(PODS, STATEFULSETS, PERSISTENTVOLUMECLAIMS, CONTROLLERREVISIONS)
        )
        self._events = context.recorder("statefulset-controller")
        self._claims = context.informer(PERSISTENTVOLUMECLAIMS)
        self._revisions = context.informer(CONTROLLERREVISIONS)

    async def reconcile(self, key: str) -> Result:
        """Take one step of one StatefulSet."""
        statefulset = self._objects.get(key)
        if statefulset is None:
            return DONE
        selector = from_object(statefulset["spec"].get("selector"))
        if selector.is_empty:
            return DONE
        writer = Writer(self._client, self._writes, key)
        candidates = [one for one in children(self._children, statefulset) if self._may_own(statefulset, one)]
        claim = owners.claim(statefulset, candidates, selector)
        await settle_claim(self._client, writer, statefulset, STATEFULSETS, claim, PODS)
        try:
            history = await keep_history(self._client, writer, statefulset, STATEFULSETS, self._revisions)
        except HashCollision:
            await count_collision(writer, statefulset, STATEFULSETS)
            return DONE
        revisions = _revisions(statefulset, history)
        now = self._context.clock.time()
        step = statefulsets.plan(statefulset, claim.owned, revisions, now)
        failure = await self._carry_out(statefulset, step, writer)
        await self._keep_claims(statefulset, claim.owned, writer)
        status = statefulsets.status(statefulset, claim.owned, revisions, now)
        if status != (statefulset.get("status") or {}):
            await writer.update(STATEFULSETS, {**statefulset, "status": status}, subresource="status")
        used = {revisions.current, revisions.update, *(labels_of(pod).get(HASH_LABEL, "") for pod in claim.owned)}
        await forget_surplus(writer, statefulset, history, used)
        if failure is not None:
            raise failure
        return Result(step.look_after)

    def _may_own(self, statefulset: Object, pod: Object) -> bool:
        """An orphan is taken in only if it has one of the set's names."""
        return owners.controller_of(pod) is not None or statefulsets.ordinal_of(statefulset, pod) is not None

    async def _carry_out(self, statefulset: Object, step: Plan, writer: Writer) -> ApiError | None:
        """Answers the error that ended it; people have been told of it."""

        async def create(pod: Object) -> None:
            await self._create(statefulset, pod, writer)

        async def delete(pod: Object) -> None:
            await self._delete(statefulset, pod, writer)

        try:
            for pod in step.recreate:
                state = phase_of(pod)
                reason = "RecreatingFailedPod" if state == "Failed" else "RecreatingTerminatedPod"
                text = f"StatefulSet {key_of(statefulset)} is recreating {state} Pod {name_of(pod)}"
                self._events.event(statefulset, "Warning" if state == "Failed" else "Normal", reason, text)
                await writer.delete(PODS, pod)
            await slow_start(step.create, create)
            await slow_start(step.delete, delete)
        except ApiError as error:
            return None if error.is_namespace_terminating else error
        return None

    async def _create(self, statefulset: Object, pod: Object, writer: Writer) -> None:
        for claim in statefulsets.claims_of(statefulset, pod):
            if self._claims.get(key_of(claim)) is None:
                await self._create_claim(statefulset, pod, claim, writer)
        try:
            await writer.create(PODS, pod, shape=MADE)
        except ApiError as error:
            if error.is_already_exists:
                # We made it before and have not seen it yet, or the name is another's: its leaving will tell us.
                return
            self._tell(statefulset, "create", "failed", f"Pod {name_of(pod)}", error)
            raise
        self._tell(statefulset, "create", "successful", f"Pod {name_of(pod)}")

    async def _create_claim(self, statefulset: Object, pod: Object, claim: Object, writer: Writer) -> None:
        what = f"Claim {name_of(claim)} Pod {name_of(pod)}"
        try:
            await writer.create(PERSISTENTVOLUMECLAIMS, claim)
        except ApiError as error:
            if error.is_already_exists:
                return
            self._tell(statefulset, "create", "failed", what, error)
            raise
        self._tell(statefulset, "create", "success", what)

    async def _delete(self, statefulset: Object, pod: Object, writer: Writer) -> None:
        try:
            await writer.delete(PODS, pod)
        except ApiError as error:
            self._tell(statefulset, "delete", "failed", f"Pod {name_of(pod)}", error)
            raise
        self._tell(statefulset, "delete", "successful", f"Pod {name_of(pod)}")

    def _tell(self, statefulset: Object, doing: str, outcome: str, what: str, error: ApiError | None = None) -> None:
        kind, ending = ("Normal", "Successful") if error is None else ("Warning", "Failed")
        text = f"{doing} {what} in StatefulSet {name_of(statefulset)} {outcome}"
        text += f" error: {error.message}" if error is not None else ""
        self._events.event(statefulset, kind, f"{ending}{doing.capitalize()}", text)

    async def _keep_claims(self, statefulset: Object, pods: Sequence[Object], writer: Writer) -> None:
        """The claims of pods that exist are owned as the retention policy says."""
        for pod in pods:
            if statefulsets.ordinal_of(statefulset, pod) is None:
                continue
            for wanted in statefulsets.claims_of(statefulset, pod):
                claim = self._claims.get(key_of(wanted))
                references = statefulsets.claim_owners(statefulset, pod, claim) if claim is not None else None
                if claim is not None and references is not None:
                    version = claim["metadata"]["resourceVersion"]
                    patch = {"metadata": {"ownerReferences": references or None, "resourceVersion": version}}
                    await writer.patch(PERSISTENTVOLUMECLAIMS, claim, patch)

    def _wants(self, owner: Object, orphan: Object) -> bool:
        """To adopt it, or its name."""
        return statefulsets.ordinal_of(owner, orphan) is not None


def _revisions(statefulset: Object, history: History) -> Revisions:
    """A set without a current revision, or whose current one is gone, is all at the update revision."""
    name = (statefulset.get("status") or {}).get("currentRevision")
    current = next((one for one in history.revisions if name_of(one) == name), history.update)
    template = {key: value for key, value in current["data"]["spec"]["template"].items() if key != "$patch"}
    return Revisions(name_of(current), name_of(history.update), template, statefulset["spec"]["template"])
