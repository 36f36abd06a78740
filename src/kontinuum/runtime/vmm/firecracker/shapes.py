"""Bodies of Firecracker's API that the fake takes: fields, which of them are required, and their bounds.

Source: ``definitions`` in ``src/firecracker/swagger/firecracker.yaml``, 1.17 in development. What is not there is
refused, as Firecracker does.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=0)]


class Body(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Any of them."""

    def check(self) -> object:
        """What a schema cannot say. Raises ValueError."""
        return None


class TokenBucket(Body):
    size: Count
    refill_time: Count
    one_time_burst: Count = 0


class RateLimiter(Body):
    bandwidth: TokenBucket | None = None
    ops: TokenBucket | None = None


class BootSource(Body):
    kernel_image_path: str
    initrd_path: str | None = None
    boot_args: str | None = None


class MachineConfiguration(Body):
    vcpu_count: Annotated[int, Meta(ge=1, le=32)]
    mem_size_mib: Annotated[int, Meta(ge=1)]
    smt: bool = False
    track_dirty_pages: bool = False
    huge_pages: Literal["None", "Transparent", "2M"] = "None"
    cpu_template: Literal["C3", "T2", "T2S", "T2CL", "T2A", "V1N1", "None"] = "None"

    def check(self) -> object:
        if self.smt and self.vcpu_count > 1 and self.vcpu_count % 2:
            raise ValueError("The vCPU number is invalid: with SMT it must be 1 or even")
        return None


class Drive(Body):
    drive_id: str
    is_root_device: bool
    is_read_only: bool | None = None
    path_on_host: str | None = None
    partuuid: str | None = None
    cache_type: Literal["Unsafe", "Writeback"] = "Unsafe"
    io_engine: Literal["Sync", "Async"] = "Sync"
    rate_limiter: RateLimiter | None = None
    socket: str | None = None


class PartialDrive(Body):
    drive_id: str
    path_on_host: str | None = None
    rate_limiter: RateLimiter | None = None


class NetworkInterface(Body):
    iface_id: str
    host_dev_name: str
    guest_mac: Annotated[str, Meta(pattern="^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$")] | None = None
    mtu: Annotated[int, Meta(ge=68, le=65535)] | None = None
    rx_rate_limiter: RateLimiter | None = None
    tx_rate_limiter: RateLimiter | None = None

    def check(self) -> object:
        if not 0 < len(self.host_dev_name) < 16:
            raise ValueError("The name of the tap does not fit an interface")
        return None


class PartialNetworkInterface(Body):
    iface_id: str
    rx_rate_limiter: RateLimiter | None = None
    tx_rate_limiter: RateLimiter | None = None


class Vsock(Body):
    guest_cid: Annotated[int, Meta(ge=3, le=(1 << 32) - 1)]
    uds_path: str
    vsock_id: str | None = None

    def check(self) -> object:
        if not 0 < len(self.uds_path.encode()) < 108:
            raise ValueError("The path of the vsock's socket does not fit its address")
        return None


class Balloon(Body):
    amount_mib: Count
    deflate_on_oom: bool
    stats_polling_interval_s: Count = 0
    free_page_hinting: bool = False
    free_page_reporting: bool = False


class EntropyDevice(Body):
    rate_limiter: RateLimiter | None = None


class InstanceActionInfo(Body):
    action_type: Literal["FlushMetrics", "InstanceStart", "SendCtrlAltDel"]


class Vm(Body):
    state: Literal["Paused", "Resumed"]


class SnapshotCreateParams(Body):
    snapshot_path: str
    mem_file_path: str
    snapshot_type: Literal["Full", "Diff"] = "Full"


class MemoryBackend(Body):
    backend_type: Literal["File", "Uffd"]
    backend_path: str


class NetworkOverride(Body):
    iface_id: str
    host_dev_name: str


class VsockOverride(Body):
    uds_path: str


class SnapshotLoadParams(Body):
    snapshot_path: str
    mem_backend: MemoryBackend | None = None
    mem_file_path: str | None = None
    resume_vm: bool = False
    track_dirty_pages: bool = False
    enable_diff_snapshots: bool = False
    network_overrides: list[NetworkOverride] = msgspec.field(default_factory=list)
    vsock_override: VsockOverride | None = None
    clock_realtime: bool = False

    def check(self) -> str:
        """Where the memory is."""
        if (self.mem_backend is None) == (self.mem_file_path is None):
            raise ValueError("exactly one of mem_backend and mem_file_path is needed")
        return self.mem_file_path or (self.mem_backend.backend_path if self.mem_backend else "")


SHAPES: dict[tuple[str, str], type[Body]] = {
    ("PUT", "/boot-source"): BootSource,
    ("PUT", "/machine-config"): MachineConfiguration,
    ("PUT", "/drives"): Drive,
    ("PATCH", "/drives"): PartialDrive,
    ("PUT", "/network-interfaces"): NetworkInterface,
    ("PATCH", "/network-interfaces"): PartialNetworkInterface,
    ("PUT", "/vsock"): Vsock,
    ("PUT", "/balloon"): Balloon,
    ("PUT", "/entropy"): EntropyDevice,
    ("PUT", "/actions"): InstanceActionInfo,
    ("PATCH", "/vm"): Vm,
    ("PUT", "/snapshot/create"): SnapshotCreateParams,
    ("PUT", "/snapshot/load"): SnapshotLoadParams,
}
