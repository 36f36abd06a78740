"""From the OCI runtime specification, as containerd writes it into a bundle, to the guest's words. Pure.

Source: https://github.com/opencontainers/runtime-spec (config.md, config-linux.md) and containerd's CRI annotations.
"""

from __future__ import annotations

import math
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import orjson

from kontinuum.foundation.errors import Refused
from kontinuum.runtime.guest.port import ContainerSpec, Mount, ProcessSpec
from kontinuum.runtime.seccomp import compile_profile

Document = Mapping[str, Any]

_ANNOTATION = "io.kubernetes.cri."
_PERIOD_MICROSECONDS = 100_000
"""The guest's CPU quota is per 100 ms."""
_GUEST_MAKES_ITSELF = ("cgroup", "cgroup2")
"""Mount types that make no sense of the host's: the guest has its own hierarchy."""
_CAPABILITY_NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
    "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
CAPABILITIES = tuple(_CAPABILITY_NAMES.split())
"""By bit number, as in <linux/capability.h>."""
_OF_THE_HOST = {
    "network": "hostNetwork is not offered by microVMs: the machine has its own kernel, and with it its own network",
    "pid": "hostPID is not offered by microVMs: the machine's kernel knows no process of the host",
    "ipc": "hostIPC is not offered by microVMs: the machine's kernel shares no memory with processes of the host",
}
"""What a pod is told that asks for a namespace of the host's. Our own node agent refuses it before (node/abilities)."""


class SpecRefused(Refused):
    """The specification cannot be read or asks for something that a machine cannot give."""


class Role(Enum):
    """What a container is to its pod."""

    SANDBOX = "sandbox"
    """It stands for the pod itself and runs nothing."""
    MEMBER = "container"
    """It runs in the machine of the sandbox that it names."""
    ALONE = "alone"
    """containerd was asked without Kubernetes (``ctr run``): pod and container at once."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits of a container or pod; 0 is unlimited."""

    memory_bytes: int = 0
    cpu_quota_microseconds: int = 0
    """Per 100 ms."""
    pids: int = 0

    @property
    def cpus(self) -> int:
        """Whole CPUs needed to use up the quota; 0 if there is none."""
        return math.ceil(self.cpu_quota_microseconds / _PERIOD_MICROSECONDS)


@dataclass(frozen=True, slots=True)
class Pod:
    """What the sandbox container's specification says about the whole pod."""

    id: str
    hostname: str
    network_namespace: Path | None
    """None: there is no network but the machine's loopback (``ctr run``)."""
    cgroup: str
    """Path below each cgroup hierarchy, or empty."""
    resources: Resources
    sysctls: dict[str, str]
    annotations: dict[str, str]


def read_spec(bundle: Path) -> dict[str, Any]:
    """The bundle's ``config.json``. Raises SpecRefused."""
    try:
        spec: dict[str, Any] = orjson.loads((bundle / "config.json").read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise SpecRefused(f"reading {bundle}/config.json: {error}") from error
    return spec


def role_of(spec: Document) -> Role:
    """See Role."""
    kind = _annotations(spec).get(_ANNOTATION + "container-type", "")
    return Role(kind) if kind in ("sandbox", "container") else Role.ALONE


def sandbox_id_of(spec: Document) -> str:
    """The sandbox that a MEMBER belongs to. Raises SpecRefused if the specification does not say."""
    sandbox = _annotations(spec).get(_ANNOTATION + "sandbox-id", "")
    if not sandbox:
        raise SpecRefused(f"a container without the annotation {_ANNOTATION}sandbox-id")
    return sandbox


def pod_of(spec: Document, container: str) -> Pod:
    """The pod, from its sandbox container's specification (or that of a container alone).

    Raises SpecRefused for a pod that wants to share with the host what a machine cannot.
    """
    linux = spec.get("linux") or {}
    if role_of(spec) is Role.SANDBOX:
        own = {namespace.get("type") for namespace in linux.get("namespaces") or ()}
        for kind, why in _OF_THE_HOST.items():
            if kind not in own:
                raise SpecRefused(why)
    return Pod(
        id=container,
        hostname=spec.get("hostname") or container[:12],
        network_namespace=_network_namespace(linux),
        cgroup=linux.get("cgroupsPath") or "",
        resources=_pod_resources(spec),
        sysctls=dict(linux.get("sysctl") or {}),
        annotations=_annotations(spec),
    )


def resources_of(linux_resources: Document) -> Resources:
    """From the specification's ``linux.resources``, which Update sends too."""
    memory = linux_resources.get("memory") or {}
    cpu = linux_resources.get("cpu") or {}
    pids = linux_resources.get("pids") or {}
    return Resources(
        memory_bytes=_limit(memory.get("limit")),
        cpu_quota_microseconds=_quota(cpu.get("quota"), cpu.get("period")),
        pids=_limit(pids.get("limit")),
    )


def container_spec(
    spec: Document, container: str, *, slot: str, layer: str, file_system: str, volumes: Mapping[str, str]
) -> ContainerSpec:
    """The guest's container. ``volumes`` says where each bind mount's host path lies in the guest.

    Raises ProfileRefused.
    """
    linux = spec.get("linux") or {}
    limits = resources_of(linux.get("resources") or {})
    return ContainerSpec(
        id=container,
        slot=slot,
        file_system=file_system,
        mounts=(
            *(_mount(one, volumes) for one in spec.get("mounts") or () if one.get("type") not in _GUEST_MAKES_ITSELF),
            *(Mount(path, "masked", "none", ()) for path in linux.get("maskedPaths") or ()),
            *(Mount(path, "readonly", "none", ()) for path in linux.get("readonlyPaths") or ()),
        ),
        read_only_root=has_read_only_root(spec),
        memory_limit_bytes=limits.memory_bytes,
        cpu_quota_microseconds=limits.cpu_quota_microseconds,
        pids_limit=limits.pids,
        filter=compile_profile(linux.get("seccomp")),
        layer=layer,
    )


def has_read_only_root(spec: Document) -> bool:
    """Whether the container writes nothing over its image."""
    return bool((spec.get("root") or {}).get("readonly"))


def is_bind(mount: Document) -> bool:
    """Whether a mount of the specification makes a host path appear in the container."""
    return mount.get("type") == "bind" or not {"bind", "rbind"}.isdisjoint(mount.get("options") or ())


def process_spec(process: Document, *, container: str, id: str, terminal: bool, stdin: bool) -> ProcessSpec:
    """The guest's process from the specification's ``process``. Raises SpecRefused."""
    arguments = tuple(process.get("args") or ())
    if not arguments:
        raise SpecRefused("process.args is empty: neither the image nor the container names a command")
    user = process.get("user") or {}
    size = process.get("consoleSize") or {}
    return ProcessSpec(
        container=container,
        id=id,
        arguments=arguments,
        environment=tuple(process.get("env") or ()),
        directory=process.get("cwd") or "/",
        user=user.get("uid", 0),
        group=user.get("gid", 0),
        additional_groups=tuple(user.get("additionalGids") or ()),
        capabilities=capability_mask((process.get("capabilities") or {}).get("bounding") or ()),
        no_new_privileges=bool(process.get("noNewPrivileges")),
        terminal=terminal,
        rows=size.get("height", 0),
        columns=size.get("width", 0),
        stdin=stdin,
        rlimits=tuple(_rlimit(limit) for limit in process.get("rlimits") or ()),
    )


def capability_mask(names: Sequence[str]) -> int:
    """Bits of ``CAP_...`` names; a capability that this table does not know is newer than our guest's kernel."""
    known = {f"CAP_{name}": 1 << bit for bit, name in enumerate(CAPABILITIES)}
    return sum(known.get(name, 0) for name in set(names))


def _annotations(spec: Document) -> dict[str, str]:
    return dict(spec.get("annotations") or {})


def _network_namespace(linux: Document) -> Path | None:
    for namespace in linux.get("namespaces") or ():
        if namespace.get("type") == "network" and namespace.get("path"):
            return Path(namespace["path"])
    return None


def _pod_resources(spec: Document) -> Resources:
    """The sum over the pod's containers, which the kubelet hands to the CRI and containerd writes as annotations."""
    annotations = _annotations(spec)

    def number(name: str) -> int:
        text = annotations.get(f"{_ANNOTATION}sandbox-{name}", "")
        return int(text) if text.lstrip("-").isdigit() else 0

    if role_of(spec) is Role.ALONE:
        return resources_of((spec.get("linux") or {}).get("resources") or {})
    return Resources(
        memory_bytes=_limit(number("memory")),
        cpu_quota_microseconds=_quota(number("cpu-quota"), number("cpu-period")),
    )


def _limit(value: int | None) -> int:
    # -1 is the specification's "no limit"; runc's own default of 2**63 rounded down to pages means the same.
    return value if value and 0 < value < 1 << 62 else 0


def _quota(quota: int | None, period: int | None) -> int:
    if not quota or quota < 0:
        return 0
    return quota * _PERIOD_MICROSECONDS // (period or _PERIOD_MICROSECONDS)


def _mount(mount: Document, volumes: Mapping[str, str]) -> Mount:
    options = tuple(mount.get("options") or ())
    if is_bind(mount):
        return Mount(mount["destination"], "bind", volumes[mount["source"]], options)
    return Mount(mount["destination"], mount.get("type") or "none", mount.get("source") or "none", options)


def _rlimit(limit: Document) -> tuple[int, int, int]:
    number = getattr(resource, limit["type"], None)
    if number is None:
        raise SpecRefused(f"rlimit {limit['type']} is not known to this kernel")
    return number, limit["soft"], limit["hard"]
