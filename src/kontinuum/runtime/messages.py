"""The messages of containerd's task service, its events, and ttrpc's own envelope: names and numbers on the wire.

Sources: containerd ``runtime/v2/task/shim.proto``, ``api/events/task.proto``, ``api/services/ttrpc/events/v1``,
``cgroups/stats/v1/metrics.proto``, ttrpc ``request.proto``. A test holds every number against the descriptors that are
embedded in the installed containerd. Fields that we neither read nor write are left out.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

# --- shared


class Any(msgspec.Struct, frozen=True):
    """google.protobuf.Any"""

    type_url: Annotated[str, 1] = ""
    value: Annotated[bytes, 2] = b""


class Timestamp(msgspec.Struct, frozen=True):
    """google.protobuf.Timestamp"""

    seconds: Annotated[int, 1] = 0
    nanos: Annotated[int, 2] = 0

    @classmethod
    def of(cls, seconds: float) -> Timestamp:
        """From seconds since the epoch."""
        whole = int(seconds)
        return cls(whole, int((seconds - whole) * 1e9))


class Mount(msgspec.Struct, frozen=True):
    """containerd.types.Mount"""

    type: Annotated[str, 1] = ""
    source: Annotated[str, 2] = ""
    target: Annotated[str, 3] = ""
    options: Annotated[tuple[str, ...], 4] = ()


# --- ttrpc


class KeyValue(msgspec.Struct, frozen=True):
    """ttrpc.KeyValue"""

    key: Annotated[str, 1] = ""
    value: Annotated[str, 2] = ""


class Request(msgspec.Struct, frozen=True):
    """ttrpc.Request"""

    service: Annotated[str, 1] = ""
    method: Annotated[str, 2] = ""
    payload: Annotated[bytes, 3] = b""
    timeout_nano: Annotated[int, 4] = 0
    metadata: Annotated[tuple[KeyValue, ...], 5] = ()


class Status(msgspec.Struct, frozen=True):
    """google.rpc.Status"""

    code: Annotated[int, 1] = 0
    message: Annotated[str, 2] = ""


class Response(msgspec.Struct, frozen=True):
    """ttrpc.Response"""

    status: Annotated[Status | None, 1] = None
    payload: Annotated[bytes, 2] = b""


# --- containerd.task.v2


class Empty(msgspec.Struct, frozen=True):
    """google.protobuf.Empty"""


class CreateTaskRequest(msgspec.Struct, frozen=True):
    id: Annotated[str, 1] = ""
    bundle: Annotated[str, 2] = ""
    rootfs: Annotated[tuple[Mount, ...], 3] = ()
    terminal: Annotated[bool, 4] = False
    stdin: Annotated[str, 5] = ""
    stdout: Annotated[str, 6] = ""
    stderr: Annotated[str, 7] = ""
    checkpoint: Annotated[str, 8] = ""
    options: Annotated[Any | None, 10] = None


class CreateTaskResponse(msgspec.Struct, frozen=True):
    pid: Annotated[int, 1] = 0


class StartRequest(msgspec.Struct, frozen=True):
    id: Annotated[str, 1] = ""
    exec_id: Annotated[str, 2] = ""


class StartResponse(msgspec.Struct, frozen=True):
    pid: Annotated[int, 1] = 0


class StateRequest(msgspec.Struct, frozen=True):
    id: Annotated[str, 1] = ""
    exec_id: Annotated[str, 2] = ""


class StateResponse(msgspec.Struct, frozen=True):
    id: Annotated[str, 1] = ""
    bundle: Annotated[str, 2] = ""
    pid: Annotated[int, 3] = 0
    status: Annotated[int, 4] = 0
    """containerd.v1.types.Status: 1 created, 2 running, 3 stopped."""
    stdin: Annotated[str, 5] = ""
    stdout: Annotated[str, 6] = ""
    stderr: Annotated[str, 7] = ""
    terminal: Annotated[bool, 8] = False
    exit_status: Annotated[int, 9] = 0
    exited_at: Annotated[Timestamp | None, 10] = None
    exec_id: Annotated[str, 11] = ""


class WaitRequest(msgspec.Struct, frozen=True):
    id: Annotated[str, 1] = ""
    exec_id: Annotated[str, 2] = ""


class WaitResponse(msgspec.Struct, frozen=True):
    exit_status: Annotated[int, 1] = 0
    exited_at: Annotated[Timestamp | None, 2] = None


class DeleteRequest(msgspec.Struct, frozen=True):
    id: Annotated[str, 1] = ""
    exec_id: Annotated[str, 2] = ""


class DeleteResponse(msgspec.Struct, frozen=True):
    pid: Annotated[int, 1] = 0
    exit_status: Annotated[int, 2] = 0
    exited_at: Annotated[Timestamp | None, 3] = None


class ExecProcessRequest(msgspec.Struct, frozen=True):
    id: Annotated[str, 1] = ""
    exec_id: Annotated[str, 2] = ""
    terminal: Annotated[bool, 3] = False
    stdin: Annotated[str, 4] = ""
    stdout: Annotated[str, 5] = ""
    stderr: Annotated[str, 6] = ""
    spec: Annotated[Any | None, 7] = None


class KillRequest(msgspec.Struct, frozen=True):
    id: Annotated[str, 1] = ""
    exec_id: Annotated[str, 2] = ""
    signal: Annotated[int, 3] = 0
    all: Annotated[bool, 4] = False


class ResizePtyRequest(msgspec.Struct, frozen=True):
    id: Annotated[str, 1] = ""
    exec_id: Annotated[str, 2] = ""
    width: Annotated[int, 3] = 0
    height: Annotated[int, 4] = 0


class CloseIORequest(msgspec.Struct, frozen=True):
    id: Annotated[str, 1] = ""
    exec_id: Annotated[str, 2] = ""
    stdin: Annotated[bool, 3] = False


class PidsRequest(msgspec.Struct, frozen=True):
    id: Annotated[str, 1] = ""


class ProcessInfo(msgspec.Struct, frozen=True):
    pid: Annotated[int, 1] = 0


class PidsResponse(msgspec.Struct, frozen=True):
    processes: Annotated[tuple[ProcessInfo, ...], 1] = ()


class UpdateTaskRequest(msgspec.Struct, frozen=True):
    id: Annotated[str, 1] = ""
    resources: Annotated[Any | None, 2] = None


class StatsRequest(msgspec.Struct, frozen=True):
    id: Annotated[str, 1] = ""


class StatsResponse(msgspec.Struct, frozen=True):
    stats: Annotated[Any | None, 1] = None


class ConnectRequest(msgspec.Struct, frozen=True):
    id: Annotated[str, 1] = ""


class ConnectResponse(msgspec.Struct, frozen=True):
    shim_pid: Annotated[int, 1] = 0
    task_pid: Annotated[int, 2] = 0
    version: Annotated[str, 3] = ""


class ShutdownRequest(msgspec.Struct, frozen=True):
    id: Annotated[str, 1] = ""
    now: Annotated[bool, 2] = False


# --- containerd.events and their envelope


class TaskIO(msgspec.Struct, frozen=True):
    stdin: Annotated[str, 1] = ""
    stdout: Annotated[str, 2] = ""
    stderr: Annotated[str, 3] = ""
    terminal: Annotated[bool, 4] = False


class TaskCreate(msgspec.Struct, frozen=True):
    container_id: Annotated[str, 1] = ""
    bundle: Annotated[str, 2] = ""
    rootfs: Annotated[tuple[Mount, ...], 3] = ()
    io: Annotated[TaskIO | None, 4] = None
    checkpoint: Annotated[str, 5] = ""
    pid: Annotated[int, 6] = 0


class TaskStart(msgspec.Struct, frozen=True):
    container_id: Annotated[str, 1] = ""
    pid: Annotated[int, 2] = 0


class TaskDelete(msgspec.Struct, frozen=True):
    container_id: Annotated[str, 1] = ""
    pid: Annotated[int, 2] = 0
    exit_status: Annotated[int, 3] = 0
    exited_at: Annotated[Timestamp | None, 4] = None
    id: Annotated[str, 5] = ""


class TaskExit(msgspec.Struct, frozen=True):
    container_id: Annotated[str, 1] = ""
    id: Annotated[str, 2] = ""
    pid: Annotated[int, 3] = 0
    exit_status: Annotated[int, 4] = 0
    exited_at: Annotated[Timestamp | None, 5] = None


class TaskOOM(msgspec.Struct, frozen=True):
    container_id: Annotated[str, 1] = ""


class TaskExecAdded(msgspec.Struct, frozen=True):
    container_id: Annotated[str, 1] = ""
    exec_id: Annotated[str, 2] = ""


class TaskExecStarted(msgspec.Struct, frozen=True):
    container_id: Annotated[str, 1] = ""
    exec_id: Annotated[str, 2] = ""
    pid: Annotated[int, 3] = 0


class Envelope(msgspec.Struct, frozen=True):
    """containerd.services.events.ttrpc.v1.Envelope"""

    timestamp: Annotated[Timestamp | None, 1] = None
    namespace: Annotated[str, 2] = ""
    topic: Annotated[str, 3] = ""
    event: Annotated[Any | None, 4] = None


class ForwardRequest(msgspec.Struct, frozen=True):
    envelope: Annotated[Envelope | None, 1] = None


# --- io.containerd.cgroups.v1, the form in which Stats are answered (also when the host has cgroup v2)


class PidsStat(msgspec.Struct, frozen=True):
    current: Annotated[int, 1] = 0
    limit: Annotated[int, 2] = 0


class CPUUsage(msgspec.Struct, frozen=True):
    total: Annotated[int, 1] = 0
    """Nanoseconds."""


class CPUStat(msgspec.Struct, frozen=True):
    usage: Annotated[CPUUsage | None, 1] = None


class MemoryEntry(msgspec.Struct, frozen=True):
    limit: Annotated[int, 1] = 0
    usage: Annotated[int, 2] = 0


class MemoryStat(msgspec.Struct, frozen=True):
    total_rss: Annotated[int, 19] = 0
    total_inactive_file: Annotated[int, 30] = 0
    usage: Annotated[MemoryEntry | None, 33] = None


class Metrics(msgspec.Struct, frozen=True):
    pids: Annotated[PidsStat | None, 2] = None
    cpu: Annotated[CPUStat | None, 3] = None
    memory: Annotated[MemoryStat | None, 4] = None


# --- runtimeoptions.v1


class Options(msgspec.Struct, frozen=True):
    """What containerd's configuration says under ``runtimes.<name>.options``."""

    type_url: Annotated[str, 1] = ""
    config_path: Annotated[str, 2] = ""
