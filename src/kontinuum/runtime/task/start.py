"""Start: run the first process of a container, or an exec that was added before."""

from __future__ import annotations

from kontinuum.runtime import messages, oci
from kontinuum.runtime.container import Container
from kontinuum.runtime.messages import StartRequest, StartResponse
from kontinuum.runtime.oci import Document, Role
from kontinuum.runtime.process import CannotStart, Process
from kontinuum.runtime.shim import Shim


async def start(shim: Shim, request: StartRequest) -> StartResponse:
    """Raises NoSuchProcess, WrongState, CannotStart, SandboxOver, GuestLost."""
    container = shim.container(request.id)
    process = container.process(request.exec_id)
    if container.role is Role.SANDBOX:
        process.start_without_guest()
    else:
        try:
            async with shim.failing_after_sandbox():
                await _start(shim, container, process)
        finally:
            shim.settle()
    if request.exec_id:
        shim.publish(messages.TaskExecStarted(request.id, request.exec_id, process.pid))
    else:
        shim.publish(messages.TaskStart(request.id, process.pid))
    return StartResponse(process.pid)


async def _start(shim: Shim, container: Container, process: Process) -> None:
    description: Document = process.spec or container.spec.get("process") or {}
    spec = oci.process_spec(
        description,
        container=container.id,
        # An exec's name is unique in its container only.
        id=f"{container.id}/{process.exec_id}" if process.exec_id else container.id,
        terminal=process.stdio.terminal,
        stdin=bool(process.stdio.stdin),
    )
    process.pid = shim.sandbox.machine_pid
    try:
        await process.start(await shim.sandbox.guest(), spec)
    except CannotStart as error:
        raise CannotStart(_in_runc_words(str(error), is_exec=bool(process.exec_id))) from error


def _in_runc_words(reason: str, *, is_exec: bool) -> str:
    """What containerd's own shim says around runc's message; tools match on it."""
    what = "OCI runtime exec failed: exec failed" if is_exec else "OCI runtime create failed: start failed"
    return f"{what}: {reason}: unknown"
