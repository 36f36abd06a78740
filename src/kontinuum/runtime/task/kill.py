"""Kill: send a signal. The sandbox has no process to send it to; whatever the signal, its machine ends."""

from __future__ import annotations

from kontinuum.runtime.guest.port import Exit
from kontinuum.runtime.messages import Empty, KillRequest
from kontinuum.runtime.oci import Role
from kontinuum.runtime.process import Phase
from kontinuum.runtime.shim import Shim
from kontinuum.runtime.task.errors import NoSuchProcess


async def kill(shim: Shim, request: KillRequest) -> Empty:
    """Raises NoSuchProcess, also when it has ended already, which containerd takes for success."""
    container = shim.container(request.id)
    process = container.process(request.exec_id)
    if container.role is not Role.SANDBOX:
        await process.signal(request.signal, whole_container=request.all)
        return Empty()
    if process.phase is Phase.STOPPED:
        raise NoSuchProcess("process already finished: not found")
    process.end(Exit(128 + request.signal))
    await shim.sandbox.stop()
    return Empty()
