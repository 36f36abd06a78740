"""A hollow node on a thread of its own, and a scheduler's stand-in: every pod is bound to it and runs, or is done.

For clients that wait for pods where no pod needs to run.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path

from kontinuum.api.kubernetes.resources import PODS
from kontinuum.api.machinery.objects import Object, name_of, namespace_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client import kubeconfig
from kontinuum.client.connect import connect
from kontinuum.client.informer import Informer
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.tasks import cancel
from kontinuum.hollow.nodes import HollowNodes

NAME = "hollow"


class HollowNode:
    """A context manager. Pods with restartPolicy Never have succeeded at once, others are ready for ever."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event

    def __enter__(self) -> HollowNode:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        client = connect(kubeconfig.load(self._config))
        nodes = HollowNodes(client, RealClock(), [NAME], ready_seconds=0, stop_seconds=0)
        nodes.exit_of = lambda pod: 0 if pod["spec"].get("restartPolicy") == "Never" else None
        nodes.exit_seconds = 0
        working = [asyncio.create_task(work) for work in (nodes.run(), _bind_all(client))]
        self._ready.set()
        await self._stop.wait()
        await cancel(*working)
        await client.close()


async def _bind_all(client: Client) -> None:
    """Give every pod that has no node this one."""

    async def bind(pod: Object) -> None:
        binding = {"metadata": {"name": name_of(pod)}, "target": {"kind": "Node", "name": NAME}}
        # The pod may have gone, or somebody else was faster.
        with contextlib.suppress(ApiError):
            await client.create(PODS, binding, namespace=namespace_of(pod), name=name_of(pod), subresource="binding")

    async with asyncio.TaskGroup() as group:

        def changed(change: str, pod: Object, old: Object | None) -> None:
            if change == "added" and not pod["spec"].get("nodeName"):
                group.create_task(bind(pod))

        informer = Informer(client, PODS, clock=RealClock())
        informer.add_handler(changed)
        await informer.run()
