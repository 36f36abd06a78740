"""Create: take a container's bundle and, unless it is the sandbox itself, assemble the container in the machine."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path

from kontinuum.runtime import messages, oci, oom_score
from kontinuum.runtime.container import Container
from kontinuum.runtime.messages import CreateTaskRequest, CreateTaskResponse, TaskIO
from kontinuum.runtime.oci import Role
from kontinuum.runtime.process import Stdio
from kontinuum.runtime.sandbox import Phase, SandboxOver
from kontinuum.runtime.shim import Shim
from kontinuum.runtime.task.errors import AlreadyThere, NoSuchVerb


async def create(shim: Shim, request: CreateTaskRequest) -> CreateTaskResponse:
    """Raises AlreadyThere, SandboxOver, SpecRefused, GuestRefused, MachineRefused."""
    if request.id in shim.containers:
        raise AlreadyThere(f"container {request.id}: already exists")
    if request.checkpoint:
        raise NoSuchVerb("checkpoints of a virtual machine's containers cannot be restored")
    bundle = Path(request.bundle)
    spec = oci.read_spec(bundle)
    stdio = Stdio(request.stdin, request.stdout, request.stderr, request.terminal)
    process = shim.make_process(container=request.id, exec_id="", stdio=stdio)
    container = Container(request.id, bundle, oci.role_of(spec), spec, process)
    # Entered before anything is awaited: a second Create of the same name must not get as far.
    shim.containers[request.id] = container
    try:
        if container.role is Role.SANDBOX:
            process.pid = _sandbox_pid(shim)
        else:
            async with shim.failing_after_sandbox():
                await _assemble(shim, container, request)
            process.pid = shim.sandbox.machine_pid
            _put_oom_score(shim)
    except BaseException:
        del shim.containers[request.id]
        raise
    io = TaskIO(request.stdin, request.stdout, request.stderr, request.terminal)
    shim.publish(messages.TaskCreate(request.id, request.bundle, request.rootfs, io, "", process.pid))
    return CreateTaskResponse(process.pid)


def _put_oom_score(shim: Shim) -> None:
    score = oom_score.of_machine(one.spec for one in shim.containers.values() if one.role is not Role.SANDBOX)
    if score is not None and shim.sandbox.machine_pid:
        oom_score.put(shim.sandbox.machine_pid, score)


def _sandbox_pid(shim: Shim) -> int:
    """The sandbox runs nothing; the shim's own process stands for it, because containerd wants one."""
    if shim.sandbox.phase is Phase.FAILED:
        raise SandboxOver(f"the machine of this pod did not start: {shim.sandbox.reason}")
    return os.getpid()


async def _assemble(shim: Shim, container: Container, request: CreateTaskRequest) -> None:
    mounts = list(container.spec.get("mounts") or ())
    is_writable = not oci.has_read_only_root(container.spec)
    root, volumes = await asyncio.gather(
        shim.sandbox.attach_root(request.rootfs, writable=is_writable),
        shim.sandbox.provide_volumes(mounts),
        return_exceptions=True,
    )
    if isinstance(root, BaseException):
        raise volumes if isinstance(volumes, BaseException) else root
    if isinstance(volumes, BaseException):
        await shim.sandbox.detach_root(root)
        raise volumes
    try:
        guest = await shim.sandbox.guest()
        spec = oci.container_spec(
            container.spec,
            container.id,
            slot=root.image,
            layer=root.layer,
            file_system=shim.backends.file_system,
            volumes=volumes,
        )
    except BaseException:
        await shim.sandbox.detach_root(root)
        raise
    try:
        await guest.add_container(spec)
    except BaseException:
        await guest.remove_container(container.id, layer=root.layer)
        await shim.sandbox.detach_root(root)
        raise
    container.root = root
    container.init.before_end = partial(shim.sandbox.bring_back_files, mounts)
