"""Stops every pod on this machine by the container runtime's own words, for ``down`` and ``reset``."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import KontinuumError

log = structlog.get_logger(__name__)

GRACE_SECONDS = 5
"""What each container gets between SIGTERM and SIGKILL: a person is waiting for ``down``."""
AT_ONCE = 16


async def stop_all(socket: Path, clock: Clock) -> int:
    """Stop and remove every sandbox that containerd at ``socket`` has. Returns how many there were.

    Raises RuntimeAway if containerd cannot be reached, RuntimeFailed if a sandbox could not be removed.
    """
    from kontinuum.node.cri import CriClient

    async with CriClient(socket) as runtime:
        while not await runtime.is_ready():
            # A containerd that has just started listens before it knows its pods again.
            await clock.sleep(0.05)
        containers = (await runtime.call("ListContainers")).containers
        sandboxes = (await runtime.call("ListPodSandbox")).items
        places = asyncio.Semaphore(AT_ONCE)

        async def stop(sandbox_id: str) -> None:
            async with places:
                mine = [one.id for one in containers if one.pod_sandbox_id == sandbox_id]
                results = await asyncio.gather(
                    *(runtime.stop_container(one, GRACE_SECONDS) for one in mine), return_exceptions=True
                )
                for result in results:
                    # Not the end: stopping the sandbox kills what is left in it.
                    if isinstance(result, KontinuumError):
                        log.warning("a container did not stop in order", sandbox=sandbox_id, error=str(result))
                await runtime.stop_sandbox(sandbox_id)
                await runtime.remove_sandbox(sandbox_id)

        async with asyncio.TaskGroup() as group:
            for sandbox in sandboxes:
                group.create_task(stop(sandbox.id))
        return len(sandboxes)
