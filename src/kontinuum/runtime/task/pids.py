"""Pids: the processes of a container, by their numbers in the guest."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from kontinuum.runtime.container import Container
from kontinuum.runtime.guest.port import GuestLost, GuestRefused
from kontinuum.runtime.messages import PidsRequest, PidsResponse, ProcessInfo
from kontinuum.runtime.oci import Role
from kontinuum.runtime.sandbox import SandboxOver
from kontinuum.runtime.shim import Shim

ANSWER_SECONDS = 1.0
"""containerd waits five for a shim that it finds again, one shim after the other."""


async def pids(shim: Shim, request: PidsRequest) -> PidsResponse:
    """Raises NoSuchProcess.

    Never none: where the guest has none, or cannot say, it is the number on the host that stands for the first. Since
    1.7 containerd asks every shim that it finds when it starts. It takes one without processes for one that was never
    used, and deletes the container: nobody hears any more how it has ended.
    """
    container = shim.container(request.id)
    numbers = () if container.role is Role.SANDBOX else await _inside(shim, container)
    return PidsResponse(tuple(ProcessInfo(number) for number in numbers or (container.init.pid,)))


async def _inside(shim: Shim, container: Container) -> tuple[int, ...]:
    """The container's processes, as far as the guest tells them at once."""
    if shim.sandbox.is_starting or shim.sandbox.stands_still:
        return ()
    with suppress(SandboxOver, GuestLost, GuestRefused, TimeoutError):
        async with asyncio.timeout(ANSWER_SECONDS):
            return await (await shim.sandbox.guest()).processes(container.id)
    return ()
