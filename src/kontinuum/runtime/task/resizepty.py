"""ResizePty: the user's terminal has another size now."""

from __future__ import annotations

from kontinuum.runtime.messages import Empty, ResizePtyRequest
from kontinuum.runtime.shim import Shim


async def resizepty(shim: Shim, request: ResizePtyRequest) -> Empty:
    """Raises NoSuchProcess, GuestLost."""
    await shim.process(request.id, request.exec_id).resize(rows=request.height, columns=request.width)
    return Empty()
