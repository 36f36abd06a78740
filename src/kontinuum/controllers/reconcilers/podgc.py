"""Pods that nobody will ever clean up: on nodes that are gone, deleted before they had one, or finished long ago.

The rules and words are those of Kubernetes' ``podgc``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from kontinuum.api.kubernetes.pod_conditions import with_condition
from kontinuum.api.kubernetes.resources import NODES, PODS
from kontinuum.api.machinery.conditions import is_true
from kontinuum.api.machinery.objects import Object, key_of, name_of, namespace_of, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.controllers.context import BY_NODE, INACTIVE, Context
from kontinuum.controllers.lib.pods import is_finished, is_leaving, node_of
from kontinuum.controllers.lib.taints import OUT_OF_SERVICE
from kontinuum.foundation.clock import rfc3339
from kontinuum.foundation.errors import Retryable

log = structlog.get_logger(__name__)

TICK_SECONDS = 20.0
QUARANTINE_SECONDS = 40.0
"""How long a node must be gone before its pods are: it may only be registering again."""


@dataclass(frozen=True, slots=True)
class Removal:
    """One pod to remove, and why; ``message`` is "" for a pod that never ran anywhere or has finished."""

    pod: Object
    message: str = ""


def plan(pods: Sequence[Object], nodes: Mapping[str, Object], *, gone: frozenset[str], threshold: int) -> list[Removal]:
    """The pods to remove; ``gone`` are the names of nodes that are known to have been gone for long enough."""
    orphans = [Removal(pod, "PodGC: node no longer exists") for pod in pods if node_of(pod) in gone]
    out = [
        Removal(pod, "PodGC: node is out-of-service")
        for pod in pods
        if is_leaving(pod) and _is_out_of_service(nodes.get(node_of(pod)))
    ]
    unplaced = [Removal(pod) for pod in pods if is_leaving(pod) and not node_of(pod)]
    finished = [pod for pod in pods if is_finished(pod) and not is_leaving(pod) and node_of(pod) not in gone]
    excess = len(finished) - threshold if threshold > 0 else 0
    oldest = sorted(finished, key=lambda pod: (pod["metadata"]["creationTimestamp"], name_of(pod)))[: max(0, excess)]
    return [*orphans, *out, *unplaced, *(Removal(pod) for pod in oldest)]


def _is_out_of_service(node: Object | None) -> bool:
    """Somebody has proof that the node is off: only then is silence enough to let a pod go."""
    if node is None or is_true(node, "Ready"):
        return False
    return any(taint["key"] == OUT_OF_SERVICE for taint in (node.get("spec") or {}).get("taints") or ())


class PodGarbageCollector:
    """The hand that carries ``plan`` out, every TICK_SECONDS."""

    name = "pod-garbage-collector"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._clock = context.clock
        self._pods = context.informer(PODS)
        self._nodes = context.informer(NODES)
        self._missing: dict[str, float] = {}

    async def run(self) -> None:
        """See ``Reconciler``."""
        while True:
            try:
                await self.tick()
            except (ApiError, Retryable) as error:
                log.info("pods cannot be collected now", error=str(error))
            await self._clock.sleep(TICK_SECONDS)

    def look_again(self) -> None:
        """See ``Reconciler``. Every tick looks at everything anyway."""

    async def tick(self) -> None:
        """Look at every pod that may be nobody's, and remove what nobody else will."""
        missing = set(self._pods.values(BY_NODE)) - {""} - set(self._nodes.all_keys())
        gone = await self._gone(missing)
        found = {key_of(pod): pod for pod in self._pods.by_index(INACTIVE, "")}
        for name in gone:
            found |= {key_of(pod): pod for pod in self._pods.by_index(BY_NODE, name)}
        pods = [found[key] for key in sorted(found)]
        nodes = {name: node for pod in pods if (node := self._nodes.get(name := node_of(pod))) is not None}
        threshold = self._context.settings.terminated_pod_threshold
        for removal in plan(pods, nodes, gone=gone, threshold=threshold):
            await self._remove(removal)

    async def _gone(self, missing: set[str]) -> frozenset[str]:
        """Those that have been missing for long enough, and of which the API itself says that they do not exist."""
        now = self._clock.monotonic()
        self._missing = {name: self._missing.get(name, now) for name in sorted(missing)}
        gone = set()
        for name, since in self._missing.items():
            if now - since >= QUARANTINE_SECONDS and not await self._exists(name):
                gone.add(name)
        return frozenset(gone)

    async def _exists(self, name: str) -> bool:
        try:
            await self._context.client.get(NODES, name)
        except ApiError as error:
            if error.is_not_found:
                return False
            raise
        return True

    async def _remove(self, removal: Removal) -> None:
        pod = removal.pod
        client = self._context.client
        log.info("removing a pod", pod=key_of(pod), why=removal.message or "unplaced or finished")
        try:
            if removal.message and not is_finished(pod):
                # Whoever counts pods must see that it failed, not that it vanished.
                patch = {"status": {"phase": "Failed", "conditions": self._disrupted(removal)}}
                await client.patch(PODS, name_of(pod), patch, namespace=namespace_of(pod), subresource="status")
            await client.delete(PODS, name_of(pod), namespace=namespace_of(pod), uid=uid_of(pod), grace_seconds=0)
        except ApiError as error:
            if not error.is_not_found and not error.is_conflict:
                raise

    def _disrupted(self, removal: Removal) -> list[Object]:
        return with_condition(
            removal.pod,
            "DisruptionTarget",
            True,
            now=rfc3339(self._clock.time()),
            reason="DeletionByPodGC",
            message=removal.message,
        )
