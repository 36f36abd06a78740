"""Keeps the static pods running, and their mirrors in the API as they are.

    files ──look──▶ a worker for each pod; a pod whose file is gone or says something else ends in its own time
    mirrors ──────▶ create, delete; the worker writes its status there
Of one name only one runs: the next begins when the one before has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from kontinuum.api.kubernetes.resources import PODS
from kontinuum.api.machinery.objects import Object, key_of, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import KontinuumError
from kontinuum.node.static.mirror import mirror_of, step

log = structlog.get_logger(__name__)

Look = Callable[[], Iterable[Object]]


class StaticWorker(Protocol):
    pod: Object

    def withdraw(self) -> None: ...

    def mirrored(self, mirror: Object) -> None: ...


class StaticPods:
    """``look`` and ``run`` belong to one task; the rest may be called at any time from the same loop."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        look: Look,
        *,
        hire: Callable[[Object], StaticWorker],
        node: Callable[[], Object],
        look_seconds: float,
    ) -> None:
        """``look`` reads the files, ``hire`` gives a pod a worker; ``node`` is the Node object, {} if not known yet."""
        self._client = client
        self._clock = clock
        self._look_at_files = look
        self._hire = hire
        self._node = node
        self._look_seconds = look_seconds
        self._wanted: dict[str, Object] = {}
        self._workers: dict[str, StaticWorker] = {}
        self._mirrors: dict[str, Object] = {}
        self._wake = asyncio.Event()

    def on_mirror(self, mirror: Object, *, is_there: bool) -> None:
        """The API's view of a mirror pod of this node has changed."""
        key = key_of(mirror)
        if is_there:
            self._mirrors[key] = mirror
        elif key in self._mirrors and uid_of(self._mirrors[key]) == uid_of(mirror):
            del self._mirrors[key]
        self._wake.set()

    def on_finished(self, pod: Object) -> None:
        """The worker of a static pod has ended."""
        worker = self._workers.get(key_of(pod))
        if worker is not None and uid_of(worker.pod) == uid_of(pod):
            del self._workers[key_of(pod)]
        self._wake.set()

    def look(self) -> None:
        """Read the files, and begin and end pods accordingly."""
        self._wanted = {key_of(pod): pod for pod in self._look_at_files()}
        for key, worker in self._workers.items():
            if key not in self._wanted or uid_of(self._wanted[key]) != uid_of(worker.pod):
                worker.withdraw()
        for key, pod in self._wanted.items():
            if key not in self._workers:
                self._workers[key] = self._hire(pod)

    async def run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look_seconds):
                    await self._wake.wait()
            self._wake.clear()
            self.look()
            for key in {*self._wanted, *self._mirrors}:
                try:
                    await self._mirror(key)
                except (KontinuumError, ApiError) as error:
                    log.info("a static pod cannot be shown in the API now", pod=key, error=str(error))

    async def _mirror(self, key: str) -> None:
        static, mirror = self._wanted.get(key), self._mirrors.get(key)
        worker = self._workers.get(key)
        match step(static, mirror):
            case "create" if static is not None and self._node():
                await self._create(static)
            case "delete" if mirror is not None and (static is not None or worker is None):
                # While a pod without a file ends, its mirror still shows it.
                await self._delete(mirror)
            case "" if mirror is not None and worker is not None and static is not None:
                if uid_of(worker.pod) == uid_of(static):
                    worker.mirrored(mirror)

    async def _create(self, static: Object) -> None:
        try:
            made = await self._client.create(PODS, mirror_of(static, self._node()))
        except ApiError as error:
            # The informer has yet to tell of it.
            if not error.is_already_exists:
                raise
        else:
            self._mirrors.setdefault(key_of(made), made)
            self._wake.set()

    async def _delete(self, mirror: Object) -> None:
        meta = mirror["metadata"]
        try:
            await self._client.delete(
                PODS, meta["name"], namespace=meta["namespace"], uid=meta["uid"], grace_seconds=0
            )  # fmt: skip
        except ApiError as error:
            if not (error.is_not_found or error.is_conflict):
                raise
        self.on_mirror(mirror, is_there=False)
