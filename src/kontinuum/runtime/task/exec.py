"""Exec: add a process to a running container; Start runs it."""

from __future__ import annotations

import orjson

from kontinuum.runtime import messages
from kontinuum.runtime.messages import Empty, ExecProcessRequest
from kontinuum.runtime.oci import SpecRefused
from kontinuum.runtime.process import Phase, Stdio
from kontinuum.runtime.shim import Shim
from kontinuum.runtime.task.errors import AlreadyThere, WrongState


async def exec(shim: Shim, request: ExecProcessRequest) -> Empty:
    """Raises NoSuchProcess, AlreadyThere, WrongState, SpecRefused."""
    container = shim.container(request.id)
    if request.exec_id in container.execs:
        raise AlreadyThere(f"exec {request.exec_id}: already exists")
    if container.init.phase is not Phase.RUNNING:
        raise WrongState(f"container {request.id} is {container.init.phase.name.lower()}: nothing can be run in it")
    stdio = Stdio(request.stdin, request.stdout, request.stderr, request.terminal)
    process = shim.make_process(container=request.id, exec_id=request.exec_id, stdio=stdio)
    try:
        process.spec = orjson.loads(request.spec.value if request.spec is not None else b"")
    except orjson.JSONDecodeError as error:
        raise SpecRefused(f"the specification of exec {request.exec_id}: {error}") from error
    container.execs[request.exec_id] = process
    shim.publish(messages.TaskExecAdded(request.id, request.exec_id))
    return Empty()
