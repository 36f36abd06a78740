"""Pids: the processes of a container, by their numbers in the guest."""

from __future__ import annotations

from kontinuum.runtime.messages import PidsRequest, PidsResponse, ProcessInfo
from kontinuum.runtime.oci import Role
from kontinuum.runtime.shim import Shim


async def pids(shim: Shim, request: PidsRequest) -> PidsResponse:
    """Raises NoSuchProcess, SandboxOver, GuestLost."""
    container = shim.container(request.id)
    if container.role is Role.SANDBOX:
        return PidsResponse((ProcessInfo(container.init.pid),))
    guest = await shim.sandbox.guest()
    return PidsResponse(tuple(ProcessInfo(pid) for pid in await guest.processes(container.id)))
