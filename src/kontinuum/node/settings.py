"""What an operator may decide about the node agent and the containerd it drives."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import msgspec

from kontinuum.foundation.addresses import check_listen, check_networks, nth_address, split_networks
from kontinuum.node.allocatable import Amounts, reserved
from kontinuum.node.eviction.thresholds import Threshold, thresholds
from kontinuum.node.shutdown.plan import Group, groups

EVICTION_HARD = {
    "memory.available": "100Mi",
    "nodefs.available": "5%",
    "nodefs.inodesFree": "5%",
    "imagefs.available": "5%",
    "imagefs.inodesFree": "5%",
}
"""The kubelet's, but for disks: its 10 % and 15 % are many gigabytes of a person's own machine."""


KUBE_RESERVED = {"memory": "256Mi"}
"""Agent, containerd and, on a machine of its own, the API server and controllers."""


WARM_MACHINE_BYTES = 64 << 20
"""What a microVM that waits for its pod has to itself: measured 45 MB, and its shim-to-be."""

VerificationPolicy = Literal[
    "NeverVerify", "NeverVerifyPreloadedImages", "NeverVerifyAllowlistedImages", "AlwaysVerify"
]


USUAL_MTU = 1500
TUNNEL_BYTES = 70
"""What a tunnel (VXLAN) adds to a packet between IPv6 addresses; between IPv4 addresses it is 20 less."""


USUAL_DATA = "/var/lib/kontinuum"


def instance_of(data_dir: str) -> str:
    """Eight hex digits that tell the installations of one machine apart; bridges, cgroups and tables carry them."""
    return hashlib.sha256(str(Path(data_dir).absolute()).encode()).hexdigest()[:8]


class NodeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Paths are absolute. Sizes are bytes, times seconds."""

    data_dir: str = USUAL_DATA
    """Where everything lives that survives a reboot: containerd's content, pod volumes, our own logs."""
    pod_logs_dir: str = ""
    """Where containers' logs are kept, a directory for each pod; links to them, by which log collectors know them, are
    in ``containers`` beside it. Empty: ``/var/log/pods``, where every Kubernetes has them, for the installation with
    the usual ``data_dir``, of which there is one on a machine; ``logs/pods`` in ``data_dir`` for any other."""
    run_dir: str = ""
    """Sockets and state of running things. Empty: ``/run/kontinuum/`` and the instance's eight hex digits."""
    name: str = ""
    """The Node object's name. Empty: this machine's host name in lower case."""
    address: str = ""
    """The node's InternalIP, which the API server and pods dial. Empty: the first address of ``pod_cidr``, which only
    this machine and its pods reach, if the API server of the same machine listens on loopback; else the address of the
    default route's interface."""
    listen: str = ""
    """Where the node's own HTTPS server (logs, exec, attach) listens. Port 0 picks a free one. Empty: port 10250 of
    ``address``, where the API server dials it."""
    certificate: str = ""
    """Server certificate of the node's HTTPS server, PEM. Empty: no server is started."""
    key: str = ""
    """The private key that belongs to ``certificate``, PEM."""
    client_ca: str = ""
    """Only clients with a certificate signed by this CA (PEM) are answered."""
    classes: tuple[str, ...] = ("container", "sandbox", "microvm")
    """Isolation classes that are offered here, if the host can run them. They are handlers' names in containerd."""
    accelerator: str = ""
    """``kvm`` or ``tcg``: what VMs run on here, as probed by who starts the agent. Empty: not published."""
    vmm: str = ""
    """``qemu`` or ``firecracker``: what microVMs are made by, as found out by who starts the agent. Empty: not
    published."""
    runsc: str = ""
    """gVisor's program for pods of the class ``sandbox``. Empty: the one on the PATH; without one there is no handler
    ``sandbox``. Where gVisor's own shim ``containerd-shim-runsc-v1`` is beside it, containerd uses that."""
    sandbox_platform: str = ""
    """How gVisor catches system calls: ``ptrace``, ``systrap`` or ``kvm``. Empty: what the installed runsc prefers."""
    runtime_config: str = ""
    """The runtime's configuration file (JSON), handed to our shim by containerd. Empty: no ``microvm`` handler."""
    shim_socket: str = ""
    """Where the shim's warm parent listens. Empty: ``shim.sock`` in ``run_dir``."""
    assets_dir: str = ""
    """Directory whose ``bin`` holds ``containerd-shim-kontinuum-v1``; it goes first on containerd's PATH."""
    containerd: str = "containerd"
    """The containerd program."""
    sandbox_image: str = "localhost/pause:1"
    """The image of a pod's sandbox; imported beforehand, so that nothing needs to be pulled."""
    cni_plugins: str = "/usr/lib/cni"
    """Directory of the CNI plugins (Debian's place)."""
    interface: str = ""
    """Name of the interface that holds the node's own addresses towards pods, at most 15 letters. Empty: ``kn`` and the
    instance's eight hex digits."""
    pod_cidr: str = "10.244.0.0/24"
    """The pods of this node get their addresses from here; two networks, separated by a comma, give each pod an IPv4
    and an IPv6 address. The first address of each is the node's, the second that of the cluster's DNS."""
    cluster_cidr: str = "10.244.0.0/16"
    """All pods of the cluster, one network for each IP family of ``pod_cidr``; what leaves it is masqueraded, what
    stays inside keeps its source address."""
    service_cidrs: str = ""
    """The networks of Services' addresses. Empty: those of the same machine's API server, ``server.service_cidrs``."""
    overlay: Literal["auto", "routes", "vxlan"] = "auto"
    """How packets reach the pods of other nodes: ``routes`` to nodes that are neighbours on a network of this one's and
    to no others; ``vxlan`` inside of UDP packets to all nodes; ``auto`` is the former where it can be and the latter
    elsewhere. All nodes of a cluster must have the same."""
    overlay_port: int = 4789
    """The UDP port of ``vxlan``, which a firewall between nodes must let pass."""
    mtu: int = 0
    """The largest packet that pods send, in bytes. 0: 1500, or what fits into a tunnel's packet of 1500 where
    ``overlay`` is ``vxlan``. Less where the network between nodes takes less."""
    masquerade: bool = True
    """Give traffic that leaves the cluster the node's address."""
    max_pods: int = 110
    """How many pods the node accepts."""
    allowed_unsafe_sysctls: tuple[str, ...] = ()
    """Kernel parameters beyond the safe ones that pods may set here, as names or patterns like `net.core.*`."""
    pod_pids_limit: int = 4096
    """Processes and threads one pod may have; 0 means no limit."""
    kube_reserved: dict[str, str] = msgspec.field(default_factory=KUBE_RESERVED.copy)
    """What the node's own parts need, by ``cpu``, ``memory``, ``ephemeral-storage``, ``pid`` (processes and threads):
    not offered to pods."""
    system_reserved: dict[str, str] = {}
    """What the rest of the system needs, likewise."""
    warm_machines: int = 0
    """How many microVMs wait for pods, each with 64 MiB that are not offered to pods either. Filled in from
    ``runtime.warm_machines`` where both are of one installation."""
    enforce_node_allocatable: bool = True
    """Hold all pods together within the memory, processes and threads that are not reserved, by limits on the cgroup of
    them all."""
    disk_read_bps: int = 200_000_000
    """Bytes a second that pods may read from this node's disks together, published as the resource
    ``kontinuum.dev/disk-read-bps``; by default less than any solid-state disk gives. 0: not published."""
    disk_write_bps: int = 100_000_000
    """The same for writing: ``kontinuum.dev/disk-write-bps``."""
    disk_read_iops: int = 10_000
    """Reads a second, of any size: ``kontinuum.dev/disk-read-iops``."""
    disk_write_iops: int = 5_000
    """Writes a second, of any size: ``kontinuum.dev/disk-write-iops``."""
    network_ingress_bps: int = 1_000_000_000
    """Bits a second (as in the annotation ``kubernetes.io/ingress-bandwidth``) that pods may receive together,
    published as ``kontinuum.dev/network-ingress-bps``; by default what one gigabit port carries. 0: not published."""
    network_egress_bps: int = 1_000_000_000
    """The same for what they send: ``kontinuum.dev/network-egress-bps``."""
    cluster_dns: tuple[str, ...] = ()
    """Name servers of pods with ``dnsPolicy: ClusterFirst``. Empty: the tenth address of ``service_cidrs``, that of the
    Service ``kube-dns``; if that is empty too, such pods get the host's resolver."""
    dns: bool = True
    """Answer the cluster's DNS on this node, and keep the Service ``kube-dns``. Off: bring your own DNS server."""
    dns_upstreams: tuple[str, ...] = ()
    """Name servers that are asked for names outside of the cluster. Empty: those of the host's ``/etc/resolv.conf``."""
    proxy: bool = True
    """Lead connections to Services' addresses to their endpoints. Off: bring your own service proxy."""
    cluster_domain: str = "cluster.local"
    """DNS domain of the cluster."""
    heartbeat_seconds: float = 10.0
    """How often the node's Lease is renewed."""
    lease_duration_seconds: int = 40
    """After this many seconds of silence others may think the node gone."""
    status_seconds: float = 300.0
    """How often the Node's status is written although nothing changed."""
    observe_seconds: float = 1.0
    """How often the runtime is asked what runs, when nothing is going on."""
    eviction_hard: dict[str, str] = msgspec.field(default_factory=EVICTION_HARD.copy)
    """When less than this is there, pods are evicted at once, until it is there again. Signals: ``memory.available``,
    ``nodefs.available`` and ``nodefs.inodesFree`` (the disk of ``data_dir``), ``imagefs.available`` and
    ``imagefs.inodesFree`` (that of containerd's images), ``pid.available``. Amounts are quantities or percentages;
    setting this replaces all of the defaults, ``0%`` switches a signal off."""
    eviction_soft: dict[str, str] = {}
    """Likewise, but pods are evicted only after ``eviction_soft_grace_period``, and get their own time to end."""
    eviction_soft_grace_period: dict[str, float] = {}
    """Seconds by signal for which a soft threshold must be met before pods are evicted; every one needs it."""
    eviction_minimum_reclaim: dict[str, str] = {}
    """By signal, how much more than its threshold must be there again before eviction stops."""
    eviction_pressure_transition_period: float = 300.0
    """How long the node keeps a pressure condition after its cause has gone."""
    eviction_max_pod_grace_period: int = 0
    """The most seconds a pod that is evicted for a soft threshold gets to end, whatever it asks for itself."""
    max_parallel_image_pulls: int = 4
    """How many images are pulled at once."""
    image_pull_credentials_verification_policy: VerificationPolicy = "NeverVerifyPreloadedImages"
    """When a pod must show credentials for an image that is here already: for those that this node has pulled
    (``NeverVerifyPreloadedImages``), for those too that it has not and that are not listed
    (``NeverVerifyAllowlistedImages``), for all (``AlwaysVerify``), or for none (``NeverVerify``)."""
    preloaded_images_verification_allowlist: tuple[str, ...] = ()
    """The repositories that ``NeverVerifyAllowlistedImages`` means, e.g. ``registry.example/app`` or
    ``registry.example/team/*``."""
    image_gc_high_threshold_percent: int = 85
    """Unused images are removed when the file system they lie on is fuller than this; 100 means never."""
    image_gc_low_threshold_percent: int = 80
    """They are removed, the longest unused first, until it is no fuller than this."""
    image_minimum_gc_age: float = 120.0
    """An image that was found less than this long ago is not removed to make room."""
    image_maximum_gc_age: float = 0.0
    """An image that nobody has used for so long is removed even if there is room; 0 means never."""
    maximum_dead_containers_per_container: int = 1
    """How many ended runs of one container are kept beside the newest, for ``kubectl logs --previous``."""
    maximum_dead_containers: int = -1
    """How many ended containers are kept on the whole node; negative means as many as there are."""
    shutdown_grace_period: float = 0.0
    """How long pods together may take to end when this machine shuts down, which systemd's logind announces. 0: nobody
    waits for pods then."""
    shutdown_grace_period_critical_pods: float = 0.0
    """Which part of it is left to pods of priority 2000000000 and above, which end after the others."""
    shutdown_grace_period_by_pod_priority: dict[str, float] = {}
    """Instead of the two: seconds by the least priority of those who get them, as in ``{"0": 20, "1000": 10}``."""
    static_pod_path: str = ""
    """A folder (or one file) of pods in YAML or JSON that this node runs by itself, with or without an API server, and
    shows there as *mirror pods*. Empty: none."""
    file_check_frequency: float = 2.0
    """How often that folder is looked at."""
    machine_empty_dir_bytes: int = 17_179_869_184
    """How large an ``emptyDir`` is in a pod with a kernel of its own (``microvm``), if no limit of the pod says it. It
    is a disk there, which takes of the node's what is written to it."""
    log_max_size: int = 10_485_760
    """A container's log is rotated when it is larger than this many bytes; 0 means never."""
    log_max_files: int = 5
    """How many files of one container's log are kept, the current one included."""
    labels: dict[str, str] = {}
    """Further labels of the Node object."""

    def __post_init__(self) -> None:
        if self.listen:
            check_listen("listen", self.listen)
        for name, text in (("pod_cidr", self.pod_cidr), ("cluster_cidr", self.cluster_cidr)):
            check_networks(name, text)
        if self.max_parallel_image_pulls < 1:
            raise ValueError("max_parallel_image_pulls: at least one image must be pulled at a time")
        if not 0 <= self.image_gc_low_threshold_percent < self.image_gc_high_threshold_percent <= 100:
            raise ValueError(
                "image_gc_low_threshold_percent: must be at least 0 and less than image_gc_high_threshold_percent, "
                "which is at most 100"
            )
        if self.service_cidrs:
            check_networks("service_cidrs", self.service_cidrs)
        _ = self.eviction_thresholds, self.reserved, self.shutdown_groups

    @property
    def instance(self) -> str:
        return instance_of(self.data_dir)

    @property
    def data(self) -> Path:
        return Path(self.data_dir).absolute()

    @property
    def pod_logs(self) -> Path:
        if self.pod_logs_dir:
            return Path(self.pod_logs_dir)
        return Path("/var/log/pods") if self.data == Path(USUAL_DATA) else self.data / "logs" / "pods"

    @property
    def container_logs(self) -> Path:
        """Where the links to logs are that collectors look for."""
        return self.pod_logs.with_name("containers")

    @property
    def run(self) -> Path:
        return Path(self.run_dir) if self.run_dir else Path("/run/kontinuum") / self.instance

    @property
    def socket(self) -> Path:
        """containerd's socket."""
        return self.run / "containerd.sock"

    @property
    def interface_name(self) -> str:
        return self.interface or f"kn{self.instance}"

    @property
    def pod_networks(self) -> tuple[str, ...]:
        return split_networks(self.pod_cidr)

    @property
    def cluster_networks(self) -> tuple[str, ...]:
        return split_networks(self.cluster_cidr)

    @property
    def service_networks(self) -> tuple[str, ...]:
        return split_networks(self.service_cidrs)

    @property
    def pod_mtu(self) -> int:
        """The largest packet that pods send, in bytes."""
        return self.mtu or (USUAL_MTU - TUNNEL_BYTES if self.overlay == "vxlan" else USUAL_MTU)

    @property
    def gateways(self) -> tuple[str, ...]:
        """The node's own address in each of the pods' networks."""
        return tuple(nth_address(network, 1) for network in self.pod_networks)

    @property
    def dns_addresses(self) -> tuple[str, ...]:
        """Where this node answers DNS, in each of the pods' networks."""
        return tuple(nth_address(network, 2) for network in self.pod_networks)

    @property
    def listens_at(self) -> str:
        """``HOST:PORT`` of the node's HTTPS server."""
        host = self.address or self.gateways[0]
        return self.listen or (f"[{host}]:10250" if ":" in host else f"{host}:10250")

    @property
    def volumes(self) -> Path:
        """Where the node's host-path volumes are; they stay when their pods go."""
        return self.data / "volumes"

    @property
    def seccomp_profiles(self) -> Path:
        """Where the profiles are that pods name with ``seccompProfile.localhostProfile``."""
        return self.data / "seccomp"

    @property
    def offered_classes(self) -> tuple[str, ...]:
        """The classes for which containerd has a handler here."""
        needs = {"sandbox": self.runsc, "microvm": self.runtime_config}
        return tuple(name for name in self.classes if needs.get(name, "always"))

    @property
    def eviction_thresholds(self) -> tuple[Threshold, ...]:
        """Raises BadThreshold."""
        return thresholds(
            self.eviction_hard, self.eviction_soft, self.eviction_soft_grace_period, self.eviction_minimum_reclaim
        )

    @property
    def shutdown_groups(self) -> tuple[Group, ...]:
        """Raises BadShutdown."""
        return groups(
            self.shutdown_grace_period,
            self.shutdown_grace_period_critical_pods,
            self.shutdown_grace_period_by_pod_priority,
        )

    @property
    def shutdown_file(self) -> Path:
        """Where the agent says how far a shutdown has come."""
        return self.run / "shutdown.json"

    @property
    def reserved(self) -> Amounts:
        """Raises BadReservation."""
        warm = {"memory": str(self.warm_machines * WARM_MACHINE_BYTES)}
        return reserved(kube_reserved=self.kube_reserved, system_reserved=self.system_reserved, warm_machines=warm)

    @property
    def machine_starts(self) -> Path:
        """Where the runtime counts the starts of microVMs."""
        return self.run / "tallies" / "machine-starts"

    @property
    def imagefs(self) -> Path:
        """Where containerd keeps images and containers' writable layers."""
        return self.data / "containerd" / "root"

    @property
    def cgroup(self) -> str:
        """Parent of all pods' cgroups, in every hierarchy."""
        return f"/kontinuum/{self.instance}"
