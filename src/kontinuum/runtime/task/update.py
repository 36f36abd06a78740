"""Update: change a container's limits while it runs."""

from __future__ import annotations

import orjson

from kontinuum.runtime import oci
from kontinuum.runtime.messages import Empty, UpdateTaskRequest
from kontinuum.runtime.oci import Role, SpecRefused
from kontinuum.runtime.shim import Shim


async def update(shim: Shim, request: UpdateTaskRequest) -> Empty:
    """Raises NoSuchProcess, SpecRefused, SandboxOver, GuestRefused, GuestLost."""
    container = shim.container(request.id)
    if container.role is Role.SANDBOX or request.resources is None:
        return Empty()
    try:
        limits = oci.resources_of(orjson.loads(request.resources.value))
    except orjson.JSONDecodeError as error:
        raise SpecRefused(f"resources of container {request.id}: {error}") from error
    guest = await shim.sandbox.guest()
    await guest.update_container(
        container.id,
        memory_limit_bytes=limits.memory_bytes,
        cpu_quota_microseconds=limits.cpu_quota_microseconds,
        pids_limit=limits.pids,
    )
    return Empty()
