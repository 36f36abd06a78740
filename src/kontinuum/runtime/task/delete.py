"""Delete: forget a process that has ended, and take its container apart in the machine."""

from __future__ import annotations

import structlog

from kontinuum.runtime import messages
from kontinuum.runtime.container import Container
from kontinuum.runtime.guest.port import GuestLost, GuestRefused
from kontinuum.runtime.messages import DeleteRequest, DeleteResponse, Timestamp
from kontinuum.runtime.oci import Role
from kontinuum.runtime.process import Phase
from kontinuum.runtime.sandbox import SandboxOver
from kontinuum.runtime.shim import Shim
from kontinuum.runtime.task.errors import WrongState

log = structlog.get_logger(__name__)


async def delete(shim: Shim, request: DeleteRequest) -> DeleteResponse:
    """Raises NoSuchProcess, WrongState."""
    container = shim.container(request.id)
    process = container.process(request.exec_id)
    if process.phase is Phase.RUNNING:
        raise WrongState(f"process {request.exec_id or request.id} is running: failed precondition")
    answer = DeleteResponse(process.pid, process.exit_status, Timestamp.of(process.exited_at or shim.clock.time()))
    if request.exec_id:
        del container.execs[request.exec_id]
        return answer
    del shim.containers[request.id]
    await _take_apart(shim, container)
    shim.publish(messages.TaskDelete(request.id, answer.pid, answer.exit_status, answer.exited_at, ""))
    return answer


async def _take_apart(shim: Shim, container: Container) -> None:
    if container.role is Role.SANDBOX:
        await shim.drop_sandbox()
        return
    try:
        guest = await shim.sandbox.guest()
        if container.root is not None:
            await guest.remove_container(container.id, layer=container.root.layer)
            await shim.sandbox.detach_root(container.root)
    except (SandboxOver, GuestLost) as error:
        log.debug("nothing to take apart", container=container.id, reason=str(error))
    except GuestRefused as error:
        # Its disks stay with the machine: what the guest may still write to is given to no other container.
        log.warning("a container was not taken apart", container=container.id, reason=str(error))
