"""The frame that reconcilers share: workers that take keys, and handlers that turn what is heard into keys.

A subclass says what it is about and writes ``reconcile``; whatever else it follows it adds handlers for.
"""

from __future__ import annotations

from kontinuum.api.machinery.objects import Object, key_of, labels_of, namespace_of, uid_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.selectors import from_object
from kontinuum.client.informer import Informer
from kontinuum.client.reconcile import Result, Workers
from kontinuum.controllers.context import BY_CONTROLLER, BY_NAMESPACE, Context
from kontinuum.controllers.lib import owners

GATHER_SECONDS = 0.5
GATHER_SECONDS_EACH = 0.001


def is_more_than_status(new: Object, old: Object) -> bool:
    """Whether a change is one of what an object is, beside what is reported of it."""
    return changes_life(new, old) or _differ(new, old, "labels", "annotations")


def changes_life(new: Object, old: Object) -> bool:
    """Whether an object belongs to somebody else now, is asked for something else, or is on its way out."""
    return _differ(new, old, "uid", "ownerReferences", "finalizers", "deletionTimestamp", "generation")


def _differ(new: Object, old: Object, *fields: str) -> bool:
    return any(new["metadata"].get(field) != old["metadata"].get(field) for field in fields)


class SelectionReconciler:
    """Works on the keys of the objects that one informer shows."""

    name: str

    def __init__(
        self, context: Context, objects: Informer, *, writes: tuple[Resource, ...] = (), workers: int | None = None
    ) -> None:
        """``writes`` are the kinds that it writes and reads: a key waits until what was written for it is seen."""
        self._context = context
        self._client = context.client
        self._objects = objects
        self._writes = context.own_writes(*writes)
        self._workers = Workers(
            self.name, self.reconcile, writes=self._writes, count=workers or context.settings.workers
        )  # fmt: skip
        self._objects.add_handler(self._object_changed)

    async def run(self) -> None:
        """See ``Reconciler``."""
        await self._workers.run()

    def look_again(self) -> None:
        """See ``Reconciler``."""
        for key in self._objects.all_keys():
            self._workers.queue.add(key)

    async def reconcile(self, key: str) -> Result:
        """Bring what ``key`` names to what it should be. Raises ApiError, Unreachable, Refused."""
        raise NotImplementedError

    def _object_changed(self, change: str, obj: Object, old: Object | None) -> None:
        self._workers.queue.add(key_of(obj))


class KeyReconciler(SelectionReconciler):
    """Works on the keys of one kind's objects."""

    def __init__(
        self, context: Context, resource: Resource, *, writes: tuple[Resource, ...] = (), workers: int | None = None
    ) -> None:
        super().__init__(context, context.informer(resource), writes=writes, workers=workers)
        self._resource = resource


class OwnerReconciler(KeyReconciler):
    """Works on objects that control others: news of a child are its owner's, and an orphan's are for whoever wants it.

    ``children`` is the children's kind.
    """

    def __init__(
        self, context: Context, resource: Resource, children: Resource, *, writes: tuple[Resource, ...]
    ) -> None:  # fmt: skip
        super().__init__(context, resource, writes=writes)
        self._children = context.informer(children)
        self._children.add_handler(self._child_changed)

    def _object_changed(self, change: str, obj: Object, old: Object | None) -> None:
        if change == "updated" and old is not None and not is_more_than_status(obj, old):
            # It is mostly we who wrote it. To look at once would be to write what has been reported since, and so on: a
            # status for each round trip instead of one for all that is gathered.
            self._workers.queue.add(key_of(obj), patience=self._patience(uid_of(obj)))
        else:
            super()._object_changed(change, obj, old)

    def _wants(self, owner: Object, orphan: Object) -> bool:
        """Whether ``owner`` might adopt ``orphan``, or waits for what it stands in the way of."""
        return from_object(owner["spec"].get("selector")).matches(labels_of(orphan))

    def _child_changed(self, change: str, child: Object, old: Object | None) -> None:
        told = ""
        for version in (child, old):
            reference = owners.controller_of(version) if version is not None else None
            if version is not None and reference is None:
                self._orphan_changed(version)
            elif reference is not None and reference["kind"] == self._resource.kind and reference["uid"] != told:
                told = reference["uid"]
                key = f"{namespace_of(child)}/{reference['name']}"
                # A pod that is bound is labelled with its zone: labels are as frequent as reports, and wait with them.
                if change != "updated" or old is None or changes_life(child, old):
                    self._workers.queue.add(key)
                else:
                    self._workers.queue.add(key, patience=self._patience(told))

    def _patience(self, uid: str) -> float:
        """Seconds in which reports of an owner's children are gathered: the longer the more there are of them.

        Each would be a decision over all of them and a status to write; three children wait for three milliseconds.
        """
        return min(GATHER_SECONDS, GATHER_SECONDS_EACH * self._children.count(BY_CONTROLLER, uid))

    def _orphan_changed(self, orphan: Object) -> None:
        for owner in self._objects.by_index(BY_NAMESPACE, namespace_of(orphan)):
            if self._wants(owner, orphan):
                self._workers.queue.add(key_of(owner))
