"""Namespaces that are being deleted: remove all they contain, whatever its kind, then let them go.

Content is found by discovery, so that kinds nobody knew when this was written are removed too. The conditions are
Kubernetes' (``namespace/deletion``), which ``kubectl describe`` shows when a namespace hangs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from kontinuum.api.kubernetes.resources import NAMESPACES, PODS
from kontinuum.api.machinery.conditions import set_condition
from kontinuum.api.machinery.objects import Object, name_of, namespace_of, uid_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.discovery import discover
from kontinuum.client.reconcile import DONE, Result
from kontinuum.controllers.context import Context
from kontinuum.controllers.frame import KeyReconciler
from kontinuum.foundation.clock import rfc3339

FINALIZER = "kubernetes"
PAGE = 500
AT_ONCE = 16
"""Deletions in flight, so that a large namespace goes quickly and others still get their turn."""
SOON, LATER = 0.5, 5.0
"""Seconds until the next look when content was just told to go, and when it only takes its time."""


@dataclass(frozen=True, slots=True)
class Content:
    """What one look into a namespace found."""

    objects: Sequence[tuple[Resource, Object]] = ()
    """With metadata alone."""
    failures: Sequence[str] = ()
    """Why something could not be listed or deleted; a namespace is not empty while we do not know."""
    unknown_groups: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """``finalize``: nothing is left, let go. Otherwise ``delete`` what was not yet told to go, and say why we wait."""

    conditions: list[Object]
    delete: list[tuple[Resource, Object]] = field(default_factory=list)
    finalize: bool = False


def plan(namespace: Object, content: Content, now: float) -> Plan:
    """The next step for a namespace that is being deleted.

    Pods go before everything else: no policy, secret or volume may vanish from under one that still runs (KEP-5080).
    """
    empty = not content.objects and not content.failures and not content.unknown_groups
    conditions = _conditions(namespace, content, now)
    # By name: what discovery tells of a resource is more than who it is.
    pods = [(kind, obj) for kind, obj in content.objects if kind.qualified == PODS.qualified]
    waiting = [(kind, obj) for kind, obj in pods or content.objects if "deletionTimestamp" not in obj["metadata"]]
    return Plan(conditions, waiting, empty)


def _conditions(namespace: Object, content: Content, now: float) -> list[Object]:
    """All of Kubernetes' conditions, the good ones too: they tell that the namespace has been looked into."""
    # With a dot behind the core group's resources too, as Kubernetes writes them here.
    kinds = Counter(f"{resource.plural}.{resource.group}" for resource, _ in content.objects)
    holders = Counter(one for _, obj in content.objects for one in obj["metadata"].get("finalizers") or ())
    remaining = ", ".join(f"{kind} has {count} resource instances" for kind, count in sorted(kinds.items()))
    finalizers = ", ".join(f"{one} in {count} resource instances" for one, count in sorted(holders.items()))
    facts = [
        (
            "NamespaceDeletionDiscoveryFailure",
            ("DiscoveryFailed", f"Discovery failed for some groups: {', '.join(content.unknown_groups)}"),
            ("ResourcesDiscovered", "All resources successfully discovered"),
            bool(content.unknown_groups),
        ),
        (
            # Ours cannot fail: what discovery tells is parsed where it is read. Kubernetes' clients look for it.
            "NamespaceDeletionGroupVersionParsingFailure",
            ("GroupVersionParsingFailed", ""),
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
            False,
        ),
        (
            "NamespaceDeletionContentFailure",
            ("ContentDeletionFailed", "Failed to delete all resource types: " + "; ".join(content.failures)),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
            bool(content.failures),
        ),
        (
            "NamespaceContentRemaining",
            ("SomeResourcesRemain", f"Some resources are remaining: {remaining}"),
            ("ContentRemoved", "All content successfully removed"),
            bool(kinds),
        ),
        (
            "NamespaceFinalizersRemaining",
            ("SomeFinalizersRemain", f"Some content in the namespace has finalizers remaining: {finalizers}"),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
            bool(holders),
        ),
    ]
    conditions: list[Object] = list((namespace.get("status") or {}).get("conditions") or ())
    for kind, bad, good, is_bad in facts:
        reason, message = bad if is_bad else good
        conditions = set_condition(conditions, kind, is_bad, now=rfc3339(now), reason=reason, message=message)
    return conditions


class NamespaceReconciler(KeyReconciler):
    """The hand that carries ``plan`` out. Keys are names of namespaces."""

    name = "namespace"

    def __init__(self, context: Context) -> None:
        super().__init__(context, NAMESPACES)
        context.informer(PODS).add_handler(self._pod_changed)

    async def reconcile(self, key: str) -> Result:
        """Take one step of one namespace's end."""
        if self._objects.get(key) is None:
            return DONE
        try:
            # Fresh, because the deletion of everything must not be decided on an old copy.
            namespace = await self._client.get(NAMESPACES, key)
        except ApiError as error:
            if error.is_not_found:
                return DONE
            raise
        if not _is_ours_to_empty(namespace):
            return DONE
        content = await self._look_into(name_of(namespace))
        step = plan(namespace, content, self._context.clock.time())
        if step.finalize:
            await self._let_go(namespace)
            return DONE
        namespace = await self._tell(namespace, step.conditions)
        failures = await self._delete_all(step.delete)
        if failures:
            worse = Content(content.objects, [*content.failures, *failures], content.unknown_groups)
            await self._tell(namespace, plan(namespace, worse, self._context.clock.time()).conditions)
        return Result(SOON if step.delete else LATER)

    async def _look_into(self, namespace: str) -> Content:
        discovery = await discover(self._client)
        objects: list[tuple[Resource, Object]] = []
        failures: list[str] = []
        for served in discovery.served:
            if not served.resource.namespaced or not {"list", "delete"} <= served.verbs:
                continue
            try:
                objects += [(served.resource, obj) for obj in await self._list(served.resource, namespace)]
            except ApiError as error:
                # Discovered, and gone or forbidden the next moment: only absence is harmless.
                if not error.is_not_found:
                    failures.append(f"listing {served.resource.qualified}: {error.message}")
        return Content(objects, failures, discovery.failed)

    async def _list(self, resource: Resource, namespace: str) -> list[Object]:
        items: list[Object] = []
        continue_ = ""
        while True:
            page = await self._client.list(
                resource, namespace=namespace, limit=PAGE, continue_=continue_, metadata_only=True
            )
            items += page.items
            continue_ = page.continue_
            if not continue_:
                return items

    async def _delete_all(self, objects: Sequence[tuple[Resource, Object]]) -> list[str]:
        """Tell everything to go; answers why something would not."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def delete(resource: Resource, obj: Object) -> str:
            async with gate:
                try:
                    await self._client.delete(
                        resource, name_of(obj), namespace=namespace_of(obj), uid=uid_of(obj)
                    )  # fmt: skip
                except ApiError as error:
                    if not error.is_not_found and not error.is_conflict:
                        return f"deleting {resource.qualified} {name_of(obj)}: {error.message}"
            return ""

        results = await asyncio.gather(*(delete(resource, obj) for resource, obj in objects))
        return [result for result in results if result]

    async def _tell(self, namespace: Object, conditions: list[Object]) -> Object:
        status = namespace.get("status") or {}
        if conditions == list(status.get("conditions") or ()):
            return namespace
        new = {**namespace, "status": {**status, "conditions": conditions}}
        return await self._client.update(NAMESPACES, new, subresource="status")

    async def _let_go(self, namespace: Object) -> None:
        finalizers = [one for one in namespace["spec"]["finalizers"] if one != FINALIZER]
        new = {**namespace, "spec": {**namespace["spec"], "finalizers": finalizers}}
        await self._client.update(NAMESPACES, new, subresource="finalize")

    def _object_changed(self, change: str, obj: Object, old: Object | None) -> None:
        if change != "deleted" and _is_ours_to_empty(obj):
            super()._object_changed(change, obj, old)

    def _pod_changed(self, change: str, pod: Object, old: Object | None) -> None:
        """Pods take their time to stop; when one has, its namespace need not wait for the next look."""
        namespace = self._objects.get(namespace_of(pod)) if change == "deleted" else None
        if namespace is not None and _is_ours_to_empty(namespace):
            self._workers.queue.add(name_of(namespace))


def _is_ours_to_empty(namespace: Object) -> bool:
    finalizers = (namespace.get("spec") or {}).get("finalizers") or ()
    return "deletionTimestamp" in namespace["metadata"] and FINALIZER in finalizers
