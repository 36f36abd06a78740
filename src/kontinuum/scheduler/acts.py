"""What the scheduler does to pods: bind, tell why not, promise a node, ask to leave. Thin; nothing is decided here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kontinuum.api.kubernetes.pod_conditions import with_condition
from kontinuum.api.kubernetes.resources import PODS
from kontinuum.api.machinery.conditions import get_condition
from kontinuum.api.machinery.objects import Object, name_of, namespace_of, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import Clock, rfc3339
from kontinuum.scheduler.reading import node_of

RACES = 4
"""How often a pod's status is written again because somebody else wrote it meanwhile."""


class Acts:
    """Writes about pods, ``at_once`` at the same time at most. All raise ApiError and Retryable."""

    def __init__(self, client: Client, clock: Clock, *, at_once: int) -> None:
        self._client = client
        self._clock = clock
        self._writers = asyncio.Semaphore(at_once)

    async def bind(self, pod: Object, node: str) -> None:
        """Give the pod its node. A pod that has one already, or is another one by now, is a Conflict."""
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name_of(pod), "namespace": namespace_of(pod), "uid": uid_of(pod)},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        async with self._writers:
            await self._client.create(PODS, binding, name=name_of(pod), subresource="binding")

    async def whereabouts(self, pod: Object) -> str:
        """The node that the API has the pod on; "" if it has none, or is gone."""
        found = await self._find(pod)
        return node_of(found) if found else ""

    async def tell_why_not(self, pod: Object, message: str, promised: str) -> None:
        """The PodScheduled condition and the promised node, unless the pod says the same already."""

        def change(pod: Object) -> Object | None:
            told = get_condition(pod, "PodScheduled") or {}
            new: Object = {}
            if (told.get("reason"), told.get("message")) != ("Unschedulable", message):
                new["conditions"] = with_condition(
                    pod, "PodScheduled", False, now=self._now, reason="Unschedulable", message=message
                )
            if ((pod.get("status") or {}).get("nominatedNodeName") or "") != promised:
                new["nominatedNodeName"] = promised or None
            return new if new and not node_of(pod) else None

        await self._change_status(pod, change)

    async def promise(self, pod: Object, node: str) -> None:
        """Write down where the pod is to go ("": nowhere any more), before others are asked to leave or bound."""

        def change(pod: Object) -> Object | None:
            if node_of(pod) or ((pod.get("status") or {}).get("nominatedNodeName") or "") == node:
                return None
            return {"nominatedNodeName": node or None}

        await self._change_status(pod, change)

    async def evict(self, victim: Object, scheduler_name: str) -> None:
        """Say on the pod why it must go, then delete it. A pod that is gone is no error."""
        message = f"{scheduler_name}: preempting to accommodate a higher priority pod"

        def change(pod: Object) -> Object | None:
            told = get_condition(pod, "DisruptionTarget") or {}
            if (told.get("status"), told.get("message")) == ("True", message):
                return None
            new = with_condition(
                pod, "DisruptionTarget", True, now=self._now, reason="PreemptionByScheduler", message=message
            )
            return {"conditions": new}

        await self._change_status(victim, change)
        try:
            async with self._writers:
                await self._client.delete(
                    PODS, name_of(victim), namespace=namespace_of(victim), uid=uid_of(victim)
                )  # fmt: skip
        except ApiError as error:
            if not error.is_not_found and not error.is_conflict:  # a conflict: another pod has its name by now
                raise

    @property
    def _now(self) -> str:
        return rfc3339(self._clock.time())

    async def _change_status(self, pod: Object, change: Callable[[Object], Object | None]) -> None:
        """Patch what ``change`` wants, on top of what others wrote meanwhile. A pod that is gone is left alone."""
        for _ in range(RACES):
            status = change(pod)
            if status is None:
                return
            patch = {
                "metadata": {"resourceVersion": pod["metadata"]["resourceVersion"], "uid": uid_of(pod)},
                "status": status,
            }
            try:
                async with self._writers:
                    await self._client.patch(
                        PODS, name_of(pod), patch, namespace=namespace_of(pod), subresource="status"
                    )  # fmt: skip
                return
            except ApiError as error:
                if error.is_not_found:
                    return
                if not error.is_conflict:
                    raise
                refused = error
            found = await self._find(pod)
            if found is None:
                return
            pod = found
        raise refused

    async def _find(self, pod: Object) -> Object | None:
        """The pod as the API has it now; None if it is gone."""
        try:
            found = await self._client.get(PODS, name_of(pod), namespace=namespace_of(pod))
        except ApiError as error:
            if error.is_not_found:
                return None
            raise
        return found if uid_of(found) == uid_of(pod) else None
