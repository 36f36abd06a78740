"""The task service as a table: which verb answers which method, and what its request looks like."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from kontinuum.foundation.errors import KontinuumError
from kontinuum.runtime import codec, messages
from kontinuum.runtime.shim import Shim
from kontinuum.runtime.task.closeio import closeio
from kontinuum.runtime.task.connect import connect
from kontinuum.runtime.task.create import create
from kontinuum.runtime.task.delete import delete
from kontinuum.runtime.task.errors import UNKNOWN, NoSuchVerb, as_call_failed
from kontinuum.runtime.task.exec import exec
from kontinuum.runtime.task.kill import kill
from kontinuum.runtime.task.pids import pids
from kontinuum.runtime.task.resizepty import resizepty
from kontinuum.runtime.task.shutdown import shutdown
from kontinuum.runtime.task.start import start
from kontinuum.runtime.task.state import state
from kontinuum.runtime.task.stats import stats
from kontinuum.runtime.task.update import update
from kontinuum.runtime.task.wait import wait
from kontinuum.runtime.ttrpc import CallFailed, Handler

log = structlog.get_logger(__name__)

SERVICE = "containerd.task.v2.Task"
Verb = Callable[[Shim, Any], Awaitable[msgspec.Struct]]
VERBS: dict[str, tuple[type[msgspec.Struct], Verb]] = {
    "Create": (messages.CreateTaskRequest, create),
    "Start": (messages.StartRequest, start),
    "State": (messages.StateRequest, state),
    "Wait": (messages.WaitRequest, wait),
    "Delete": (messages.DeleteRequest, delete),
    "Exec": (messages.ExecProcessRequest, exec),
    "Kill": (messages.KillRequest, kill),
    "ResizePty": (messages.ResizePtyRequest, resizepty),
    "CloseIO": (messages.CloseIORequest, closeio),
    "Pids": (messages.PidsRequest, pids),
    "Stats": (messages.StatsRequest, stats),
    "Update": (messages.UpdateTaskRequest, update),
    "Connect": (messages.ConnectRequest, connect),
    "Shutdown": (messages.ShutdownRequest, shutdown),
}


def handler(shim: Shim) -> Handler:
    """What answers the calls of one shim's connections."""

    async def handle(service: str, method: str, payload: bytes) -> bytes:
        try:
            return codec.encode(await _call(shim, service, method, payload))
        except KontinuumError as error:
            log.info("call refused", method=method, reason=str(error))
            raise as_call_failed(error) from error
        except Exception as error:
            # The edge: containerd must get an answer, or it waits until its own time limit with the pod's lock held.
            log.exception("call failed", method=method)
            raise CallFailed(UNKNOWN, f"{method}: {error!r}") from error

    return handle


async def _call(shim: Shim, service: str, method: str, payload: bytes) -> msgspec.Struct:
    if service != SERVICE or method not in VERBS:
        raise NoSuchVerb(f"{service}/{method} is not implemented")
    request, verb = VERBS[method]
    return await verb(shim, codec.decode(request, payload))
