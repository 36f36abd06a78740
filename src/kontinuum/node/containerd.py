"""How containerd is configured and started for one node: pure functions from settings to files, command, environment.

The reasons behind the unusual switches are facts of hosts that were met:
a root without CAP_SYS_RESOURCE cannot lower oom_score_adj; hugetlb may be missing; AppArmor may be absent; there may be
no systemd; and network namespaces belong below our own state directory, so that two installations never meet.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from kontinuum.foundation.addresses import nth_address
from kontinuum.node.settings import NodeSettings

CONTAINER_CLASS = "container"
SANDBOX_CLASS = "sandbox"
MICROVM_CLASS = "microvm"
SHIM = "containerd-shim-kontinuum-v1"
RUNSC, RUNSC_SHIM = "runsc", "containerd-shim-runsc-v1"
RUNSC_ADAPTER = "kontinuum-runsc"
"""Ours: by it containerd's shim for runc drives runsc."""

UNUSED_PLUGINS = (
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.internal.v1.opt",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.internal.v1.tracing",
)
FIRST_FOR_PODS = 3
"""The addresses before it in the node's pod CIDR are the network's, the node's and that of DNS."""
POD_ANNOTATIONS = ("kontinuum.dev/*", "io.kontinuum.*")
"""Pod annotations that containerd hands to our shim; it drops all others."""


def config_path(settings: NodeSettings) -> Path:
    return settings.data / "containerd" / "config.toml"


def cni_directory(settings: NodeSettings) -> Path:
    return settings.data / "cni"


def config_toml(settings: NodeSettings) -> str:
    """containerd's configuration, version 2."""
    return f"""version = 2
root = {_quote(settings.data / "containerd" / "root")}
state = {_quote(settings.run / "containerd")}
oom_score = 0
disabled_plugins = {json.dumps(UNUSED_PLUGINS)}

[grpc]
  address = {_quote(settings.socket)}

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {_quote(settings.sandbox_image)}
  disable_apparmor = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {_quote(settings.cni_plugins)}
    conf_dir = {_quote(cni_directory(settings))}
    max_conf_num = 1
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = {_quote(settings.data / "containerd" / "certs.d")}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "{CONTAINER_CLASS}"
{_runtime_container()}{_runtime_sandbox(settings)}{_runtime_microvm(settings)}"""


def _runtime_container() -> str:
    head = f'plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{CONTAINER_CLASS}'
    return f"""    [{head}]
      runtime_type = "io.containerd.runc.v2"
      [{head}.options]
        SystemdCgroup = false
"""


def has_runsc_shim(settings: NodeSettings) -> bool:
    """Whether gVisor's own shim is installed beside its ``runsc``."""
    return (Path(settings.runsc).parent / RUNSC_SHIM).exists()


def undivided(settings: NodeSettings) -> tuple[str, ...]:
    """Handlers of whose pods containerd knows only the use of the whole: the runc shim reads it from one cgroup."""
    return () if has_runsc_shim(settings) else (SANDBOX_CLASS,)


def _runtime_sandbox(settings: NodeSettings) -> str:
    """gVisor, by its own shim if that is installed, else by runc's shim and our adapter."""
    if SANDBOX_CLASS not in settings.offered_classes:
        return ""
    head = f'plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{SANDBOX_CLASS}'
    if has_runsc_shim(settings):
        return f"""    [{head}]
      runtime_type = "io.containerd.runsc.v1"
      [{head}.options]
        TypeUrl = "io.containerd.runsc.v1.options"
        ConfigPath = {_quote(runsc_config_path(settings))}
"""
    return f"""    [{head}]
      runtime_type = "io.containerd.runc.v2"
      [{head}.options]
        BinaryName = {_quote(Path(settings.assets_dir) / "bin" / RUNSC_ADAPTER)}
        SystemdCgroup = false
"""


def runsc_config_path(settings: NodeSettings) -> Path:
    return settings.data / "containerd" / "runsc.toml"


def runsc_toml(settings: NodeSettings) -> str:
    """What gVisor's own shim passes to runsc: the same that our adapter does."""
    platform = f"  platform = {_quote(settings.sandbox_platform)}\n" if settings.sandbox_platform else ""
    return f"""binary_name = {_quote(settings.runsc)}
[runsc_config]
  oci-seccomp = "true"
{platform}"""


def _runtime_microvm(settings: NodeSettings) -> str:
    """Our own shim's handler; containerd passes ``ConfigPath`` to it, which is how it knows class and places."""
    if not settings.runtime_config:
        return ""
    head = f'plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{MICROVM_CLASS}'
    annotations = json.dumps(POD_ANNOTATIONS)
    return f"""    [{head}]
      runtime_type = "io.containerd.kontinuum.v1"
      pod_annotations = {annotations}
      container_annotations = {annotations}
      [{head}.options]
        TypeUrl = "kontinuum.dev/runtime"
        ConfigPath = {_quote(settings.runtime_config)}
"""


def cni_conflist(settings: NodeSettings) -> str:
    """The pods' network: a wire from each pod to the host, with addresses from the node's pod CIDR.

    Not a bridge, on which pods would reach each other past the host's packet filter: Services and policies need to see
    both directions. ``ipMasq`` is off because it would also rewrite the source of pod-to-pod traffic between hosts
    (``proxy`` has a rule for what leaves the cluster). Address leases live in the run directory: after a reboot no pod
    is left to own one. ``bandwidth`` and ``portmap`` do nothing unless a pod asks.
    """
    ranges = [
        [{"subnet": network, "rangeStart": nth_address(network, FIRST_FOR_PODS), "gateway": gateway}]
        for network, gateway in zip(settings.pod_networks, settings.gateways, strict=True)
    ]
    wire = {
        "type": "ptp",
        "ipMasq": False,
        "mtu": settings.pod_mtu,
        "ipam": {
            "type": "host-local",
            "dataDir": str(settings.run / "addresses"),
            "ranges": ranges,
            "routes": [{"dst": "::/0" if ":" in network else "0.0.0.0/0"} for network in settings.pod_networks],
        },
    }
    plugins = [
        wire,
        {"type": "portmap", "capabilities": {"portMappings": True}},
        {"type": "bandwidth", "capabilities": {"bandwidth": True}},
        {"type": "firewall"},
    ]
    return json.dumps({"cniVersion": "0.4.0", "name": f"kontinuum-{settings.instance}", "plugins": plugins}, indent=2)


def files(settings: NodeSettings) -> dict[Path, str]:
    """Every file that must stand before containerd starts, with its content."""
    return {
        config_path(settings): config_toml(settings),
        runsc_config_path(settings): runsc_toml(settings),
        cni_directory(settings) / "10-kontinuum.conflist": cni_conflist(settings),
    }


def directories(settings: NodeSettings) -> tuple[Path, ...]:
    """Every directory that must stand before containerd starts."""
    return (
        settings.data / "containerd" / "root",
        settings.data / "containerd" / "certs.d",
        cni_directory(settings),
        settings.run / "containerd",
        settings.pod_logs,
        settings.data / "pods",
    )


def command(settings: NodeSettings) -> list[str]:
    """containerd's command line. It must run in the mount namespace in which the agent mounts volumes."""
    return [settings.containerd, "--config", str(config_path(settings)), "--log-level", "info"]


def environment(settings: NodeSettings) -> dict[str, str]:
    """What containerd and, through it, the shim's client and the CNI plugins find in their environment."""
    path = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
    if settings.assets_dir:
        path.insert(0, str(Path(settings.assets_dir) / "bin"))
    shim_socket = settings.shim_socket or str(settings.run / "shim.sock")
    for_pods = {"KONTINUUM_SHIM_SOCKET": shim_socket, "KONTINUUM_SANDBOX_PLATFORM": settings.sandbox_platform}
    if settings.runsc:
        for_pods["KONTINUUM_RUNSC"] = settings.runsc
    return {**os.environ, "PATH": os.pathsep.join(path), **for_pods}


def write(settings: NodeSettings) -> None:
    """Make the directories and files; files whose content is right already keep their time stamp."""
    for directory in directories(settings):
        directory.mkdir(parents=True, exist_ok=True)
    # Volumes hold secrets; containers reach them by mounts and do not pass here.
    (settings.data / "pods").chmod(0o700)
    for path, content in files(settings).items():
        if not path.exists() or path.read_text() != content:
            path.write_text(content)


def _quote(value: object) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's."""
    return json.dumps(str(value))
