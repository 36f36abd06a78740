"""Writes one pod's status: always the newest, never in the way of the pod's work, again until it is accepted."""

from __future__ import annotations

import asyncio

import structlog

from kontinuum.api.kubernetes.resources import PODS
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.rest import Client
from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Retryable
from kontinuum.node.pods import is_static

log = structlog.get_logger(__name__)

RETRY = Backoff(initial=0.2, maximum=10.0, jitter=0.2)


def difference(old: Object, new: Object) -> Object:
    """A merge patch that makes ``old`` into ``new``, one level deep: what is gone is null, lists are replaced."""
    changed = {key: value for key, value in new.items() if old.get(key) != value}
    return changed | {key: None for key in old if key not in new}


def merged(before: list[Object], wanted: list[Object], found: list[Object]) -> list[Object]:
    """The conditions that are ``found``, changed as ``before`` was changed into ``wanted``.

    A pod's conditions are one list of many writers (who evicts it says so there just before it ends), so that nobody
    may write it from a copy.
    """
    known = {one["type"]: one for one in before}
    ours = {one["type"]: one for one in wanted if known.get(one["type"]) != one}
    gone = known.keys() - {one["type"] for one in wanted}
    kept = [ours.pop(one["type"], one) for one in found if one["type"] not in gone]
    return [*kept, *ours.values()]


class StatusWriter:
    """``set`` the wanted status any time; ``run`` must be running."""

    def __init__(self, client: Client, pod: Object, clock: Clock) -> None:
        self._client = client
        self._name: str = pod["metadata"]["name"]
        self._namespace: str = pod["metadata"]["namespace"]
        self._uid: str = pod["metadata"]["uid"]
        self._clock = clock
        self._written: Object = pod.get("status") or {}
        self._wanted: Object = self._written
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._is_gone = is_static(pod)
        """Whether there is nothing in the API to write to."""

    def follow(self, pod: Object) -> None:
        """Write to this object of the API from now on: the picture of a static pod comes, goes and comes again."""
        if self._is_gone or pod["metadata"]["uid"] != self._uid:
            self._uid, self._is_gone = pod["metadata"]["uid"], False
            self._written = pod.get("status") or {}
            self.set(self._wanted)

    def set(self, status: Object) -> None:
        self._wanted = status
        if difference(self._written, status) and not self._is_gone:
            self._settled.clear()
            self._changed.set()

    async def wait_written(self) -> None:
        """Return when the newest status is stored, or when the pod is gone."""
        await self._settled.wait()

    async def run(self) -> None:
        failures = 0
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._write()
                failures = 0
            except (ApiError, Retryable) as error:
                log.info("a pod's status cannot be written now", pod=self._name, error=str(error))
                self._changed.set()
                await self._clock.sleep(RETRY.delay(failures))
                failures += 1

    async def _write(self) -> None:
        wanted = self._wanted
        patch = difference(self._written, wanted)
        if patch:
            try:
                await self._send(patch)
            except ApiError as error:
                if not (error.is_not_found or error.is_conflict or error.is_invalid):
                    raise
                self._is_gone = self._is_gone or error.is_not_found or error.is_conflict
                log.info("a pod's status is refused", pod=self._name, error=str(error))
            self._written = wanted
        if self._wanted is wanted or self._is_gone:
            self._settled.set()
        else:
            self._changed.set()

    async def _send(self, patch: Object) -> None:
        """Raises ApiError: Conflict if another pod has the name by now."""
        # The uid makes it fail if another pod has the name by now.
        body: Object = {"metadata": {"uid": self._uid}, "status": patch}
        while True:
            if "conditions" in patch:
                live = await self._client.get(PODS, self._name, namespace=self._namespace)
                if live["metadata"]["uid"] == self._uid:
                    found = (live.get("status") or {}).get("conditions") or []
                    before = self._written.get("conditions") or []
                    body["status"] = {**patch, "conditions": merged(before, patch["conditions"] or [], found)}
                    body["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]
            try:
                await self._client.patch(PODS, self._name, body, namespace=self._namespace, subresource="status")
                return
            except ApiError as error:
                if not error.is_conflict or body["metadata"].pop("resourceVersion", None) is None:
                    raise
