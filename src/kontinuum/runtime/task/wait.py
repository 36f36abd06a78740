"""Wait: answer when a process has ended and its output has been taken."""

from __future__ import annotations

from kontinuum.runtime.messages import Timestamp, WaitRequest, WaitResponse
from kontinuum.runtime.shim import Shim


async def wait(shim: Shim, request: WaitRequest) -> WaitResponse:
    """Raises NoSuchProcess."""
    process = shim.process(request.id, request.exec_id)
    await process.wait()
    return WaitResponse(process.exit_status, Timestamp.of(process.exited_at))
