"""Shutdown: containerd asks after each deleted container; the last one's ends the shim."""

from __future__ import annotations

from kontinuum.runtime.messages import Empty, ShutdownRequest
from kontinuum.runtime.shim import Shim


async def shutdown(shim: Shim, request: ShutdownRequest) -> Empty:
    """Answered at once; what has to end ends after the answer."""
    if not shim.containers or request.now:
        shim.finished.set()
    return Empty()
