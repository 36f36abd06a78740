"""Host-path volumes whose end was asked for: their directories are removed, and only then the question.

The question is an annotation of this node (``api.kontinuum.host_path``); while it stands the volume stays in the API.
"""

from __future__ import annotations

import asyncio

import structlog

from kontinuum.api.kontinuum.host_path import erase_key, to_erase
from kontinuum.api.kubernetes.resources import NODES
from kontinuum.api.machinery.objects import Object
from kontinuum.client.informer import Change, Informer
from kontinuum.client.queue import KeyQueue
from kontinuum.client.reconcile import DONE, Result, Workers
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Retryable
from kontinuum.node.settings import NodeSettings
from kontinuum.node.volumes import provisioned

log = structlog.get_logger(__name__)


class CannotErase(Retryable):
    """Something of the volume cannot be removed now."""


class Eraser:
    """``run`` until cancelled. Keys are names of volumes."""

    def __init__(self, client: Client, clock: Clock, settings: NodeSettings, node: str) -> None:
        self._client = client
        self._node = node
        self._root = settings.volumes
        self._informer = Informer(client, NODES, clock=clock, fields=f"metadata.name={node}", trim=_metadata)
        self._workers = Workers("volume-eraser", self.erase, queue=KeyQueue(), count=1)
        self._informer.add_handler(self._node_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informer.run())
            group.create_task(self._workers.run())

    async def erase(self, name: str) -> Result:
        """Remove one volume's directory and say so. Raises CannotErase and NotAVolume; the question stays then."""
        node = self._informer.get(self._node)
        if node is None or name not in to_erase(node):
            return DONE
        try:
            await asyncio.to_thread(provisioned.erase, self._root, name)
        except OSError as error:
            raise CannotErase(f"erasing volume {name}: {error}") from error
        await self._client.patch(NODES, self._node, {"metadata": {"annotations": {erase_key(name): None}}})
        log.info("a volume was erased", volume=name)
        return DONE

    def _node_changed(self, change: Change, node: Object, old: Object | None) -> None:
        for name in to_erase(node) if change != "deleted" else ():
            self._workers.queue.add(name)


def _metadata(node: Object) -> Object:
    kept = ("name", "uid", "resourceVersion", "annotations")
    return {"metadata": {key: value for key, value in node["metadata"].items() if key in kept}}
