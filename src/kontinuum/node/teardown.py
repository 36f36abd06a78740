"""Taking a node apart: every pod stopped and removed through the runtime, then what the host keeps for us.

For ``kontinuum down``: the API objects stay as they are, and the pods come back with the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from kontinuum.node import cgroups, network, qos
from kontinuum.node.cri import CriClient
from kontinuum.node.port import Fingerprint, RuntimeAway, RuntimeFailed
from kontinuum.node.settings import NodeSettings
from kontinuum.node.volumes import mounting, mounts, provisioned

AT_ONCE = 8
GRACE_SECONDS = 2
ROUNDS = 8
"""A pod that resists this often is reported."""
LOOKS_IN_VAIN = 2
PAUSE_SECONDS = 0.3
"""Between two looks; making a sandbox takes about 0.2 s."""


async def stop_every_pod(settings: NodeSettings, *, grace: int = GRACE_SECONDS) -> list[str]:
    """Stop and remove all pods; answers those that resisted, as ``namespace/name: why``. containerd must run.

    Looks again until nothing was there twice: a sandbox whose making was asked for before the agent stopped appears
    only when it is made.
    """
    resisted: list[str] = []
    looks_in_vain = 0
    async with CriClient(settings.socket) as runtime:
        for _ in range(ROUNDS):
            try:
                found = await runtime.fingerprints()
            except RuntimeAway as error:
                return [str(error)]
            resisted = await _remove_pods(runtime, settings, found, grace)
            looks_in_vain = 0 if found else looks_in_vain + 1
            if looks_in_vain == LOOKS_IN_VAIN:
                break
            await asyncio.sleep(PAUSE_SECONDS)
    return resisted


async def _remove_pods(
    runtime: CriClient, settings: NodeSettings, found: Mapping[str, Fingerprint], grace: int
) -> list[str]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(uid: str, pod: Fingerprint) -> str:
        async with gate:
            try:
                await _remove_pod(runtime, settings, uid, grace)
            except (RuntimeFailed, RuntimeAway, OSError) as error:
                return f"{pod.namespace}/{pod.name}: {error}"
        return ""

    answers = await asyncio.gather(*(one(uid, pod) for uid, pod in found.items()))
    return [answer for answer in answers if answer]


async def _remove_pod(runtime: CriClient, settings: NodeSettings, uid: str, grace: int) -> None:
    observed = await runtime.observe(uid)
    running = [container for container in observed.containers if container.is_running]
    await asyncio.gather(*(runtime.stop_container(container.id, grace) for container in running))
    for sandbox in observed.sandboxes:
        await runtime.stop_sandbox(sandbox.id)
        await runtime.remove_sandbox(sandbox.id)
    for point in mounts.below(settings.data / "pods" / uid):
        mounts.unmount(point)
    for cgroup in qos.possible(settings, uid):
        cgroups.remove(cgroup)


async def remove_host_state(settings: NodeSettings) -> None:
    """After the pods: interface, rules, cgroups and what is left of the pods' volumes."""
    await network.remove(settings)
    cgroups.remove(settings.cgroup)
    # The parent that all installations of the machine share goes with the last of them.
    cgroups.remove_if_empty(settings.cgroup.rpartition("/")[0])
    mounting.remove(settings.data / "pods")
    provisioned.let_go(settings.volumes, settings.data / "pods")
