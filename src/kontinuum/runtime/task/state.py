"""State: what is known now. Never waits for anything."""

from __future__ import annotations

from kontinuum.runtime.messages import StateRequest, StateResponse, Timestamp
from kontinuum.runtime.process import Phase
from kontinuum.runtime.shim import Shim


async def state(shim: Shim, request: StateRequest) -> StateResponse:
    """Raises NoSuchProcess."""
    container = shim.container(request.id)
    process = container.process(request.exec_id)
    stdio = process.stdio
    return StateResponse(
        id=request.id,
        bundle=str(container.bundle),
        pid=process.pid,
        status=int(process.phase),
        stdin=stdio.stdin,
        stdout=stdio.stdout,
        stderr=stdio.stderr,
        terminal=stdio.terminal,
        exit_status=process.exit_status,
        exited_at=Timestamp.of(process.exited_at) if process.phase is Phase.STOPPED else None,
        exec_id=request.exec_id,
    )
