"""Wait: answer when a process has ended, its output has been taken, and what it died of has been told."""

from __future__ import annotations

from kontinuum.runtime.messages import Timestamp, WaitRequest, WaitResponse
from kontinuum.runtime.shim import Shim


async def wait(shim: Shim, request: WaitRequest) -> WaitResponse:
    """Raises NoSuchProcess."""
    process = shim.process(request.id, request.exec_id)
    await process.wait()
    if process.out_of_memory:
        # containerd takes the end from this answer, and what it was of from the event alone.
        await shim.wait_events_taken()
    return WaitResponse(process.exit_status, Timestamp.of(process.exited_at))
