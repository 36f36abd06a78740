"""The loop that keeps the ways to other nodes' pods: looks when a node changes, and now and then."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from kontinuum.api.machinery.objects import Object
from kontinuum.client.informer import Change, Informer
from kontinuum.foundation import process
from kontinuum.foundation.errors import Retryable
from kontinuum.node.overlay import kernel
from kontinuum.node.overlay.ways import changes, peers, ways
from kontinuum.node.settings import NodeSettings

log = structlog.get_logger(__name__)

LOOK_SECONDS = 30.0
"""Interfaces come and go, and take routes with them; nobody tells us."""
AGAIN_SECONDS = 2.0
"""After the kernel refused something: most often a route over an interface that is not up yet."""


def trim(node: Object) -> Object:
    """A node without what nobody here looks at."""
    metadata, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
    kept = ("name", "uid", "resourceVersion", "labels", "creationTimestamp", "deletionTimestamp")
    return {
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": {name: spec[name] for name in ("podCIDR", "podCIDRs", "taints") if name in spec},
        "status": {"addresses": status.get("addresses") or []},
    }


class Overlay:
    """See the module. ``address`` is this node's towards the others."""

    def __init__(self, nodes: Informer, settings: NodeSettings, address: str) -> None:
        self._nodes = nodes
        self._settings = settings
        self._address = address
        self._wake = asyncio.Event()
        self._told: set[str] = set()
        nodes.add_handler(self._on_node)

    async def run(self) -> None:
        """Until cancelled; what is in the kernel then stays."""
        while True:
            self._wake.clear()
            seconds = LOOK_SECONDS
            try:
                await self._look()
            except Retryable as error:
                log.warning("the ways to other nodes' pods are not complete", error=str(error))
                seconds = AGAIN_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()

    async def _look(self) -> None:
        settings = self._settings
        others, doubts = peers(self._nodes.items(), settings)
        ground = await kernel.ground(settings)
        wanted, problems = ways(others, settings, ground.near)
        self._tell({*doubts, *problems})
        trouble: process.ProgramFailed | None = None
        if others and settings.overlay != "routes":
            # Also where we need none: another node may see us as no neighbour, and send into its end.
            try:
                await kernel.prepare_tunnel(settings, self._address)
                ground = await kernel.ground(settings)
            except process.ProgramFailed as error:
                trouble = error if any(way.tunnel for way in wanted.values()) else None
                wanted = {network: way for network, way in wanted.items() if not way.tunnel}
        await kernel.apply(changes(ground, wanted, settings))
        if trouble is not None:
            raise trouble

    def _tell(self, problems: set[str]) -> None:
        for one in problems - self._told:
            log.warning("the pods of a node are not reached", problem=one)
        self._told = problems

    def _on_node(self, change: Change, node: Object, old: Object | None) -> None:
        if change != "updated" or old is None or _concerns(node) != _concerns(old):
            self._wake.set()


def _concerns(node: Object) -> tuple[object, object]:
    return node.get("spec"), node.get("status")
