"""CloseIO: containerd will write no more input."""

from __future__ import annotations

from kontinuum.runtime.messages import CloseIORequest, Empty
from kontinuum.runtime.shim import Shim


async def closeio(shim: Shim, request: CloseIORequest) -> Empty:
    """Raises NoSuchProcess."""
    if request.stdin:
        shim.process(request.id, request.exec_id).close_stdin()
    return Empty()
