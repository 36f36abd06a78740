"""What an operator may decide about the controllers."""

from __future__ import annotations

from ipaddress import ip_network

from kontinuum.client.settings import ElectionSettings
from kontinuum.controllers.lib.loadbalancers import Pool
from kontinuum.foundation.addresses import check_network


class ControllersSettings(ElectionSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Times are seconds."""

    enabled: tuple[str, ...] = ("*",)
    """Which controllers run: a controller's name, ``-NAME`` for all but that one, ``*`` for all others."""
    workers: int = 4
    """Keys of one kind that are worked on at the same time."""
    look_again_seconds: float = 600.0
    """After this time everything is looked at once more, though nothing was heard of it."""
    node_grace_seconds: float = 40.0
    """A node whose Lease was not renewed for this long, by our clock, becomes Ready=Unknown."""
    unhealthy_zone_threshold: float = 0.55
    """If at least this share of a zone's nodes (and more than two) is absent, the fault may be ours or the network's:
    the zone's nodes are left more slowly then, or not at all."""
    node_eviction_rate: float = 0.1
    """How many absent nodes of a zone are given up per second, so that their pods go elsewhere: one in ten seconds."""
    node_eviction_lower_rate: float = 0.01
    """The same in a large zone of which too many are absent; in a small one nobody is given up then."""
    large_zone_size: int = 50
    """A zone with more nodes than this is large."""
    force_detach_seconds: float = 360.0
    """A volume that nobody on an unhealthy node wants any more is detached after this time, though the node has not
    said that it has unmounted it. 0: never, only where the taint ``node.kubernetes.io/out-of-service`` says that the
    node is off."""
    terminated_pod_threshold: int = 12500
    """Finished pods beyond this number are deleted, the oldest first. 0: never."""
    root_ca: str = ""
    """PEM file with the API server's authorities, published to pods in every namespace. Empty: nothing is published."""
    service_account_key: str = ""
    """PEM file with the private key that signs the tokens of ``kubernetes.io/service-account-token`` Secrets: the API
    server's own. Empty: such Secrets are left alone."""
    unused_token_seconds: float = 31_536_000.0
    """A service account's token that was made unasked (its account names it among its ``secrets``) and that nobody has
    used for this long is marked, from then on refused, and removed after as long again: a year each."""
    signing_certificate: str = ""
    """PEM file with the authority that signs approved certificate requests. Empty: none is signed."""
    signing_key: str = ""
    """PEM file with that authority's private key."""
    signing_seconds: float = 31_536_000.0
    """How long signed certificates are valid, unless less was asked for: a year."""
    approve_hosts: bool | None = None
    """Approve the certificates that nodes ask for their own server and their network part. Off: people do. Without a
    value: on, but off beside another API server."""
    host_path_class: str | None = None
    """Name of the StorageClass of directories on nodes (``kontinuum.dev/host-path``). It is created if it is absent,
    and is the default if no other is. Empty: none is created. Without a value: ``host-path``, but none beside another
    API server."""
    isolation_classes: bool = True
    """Create the RuntimeClasses ``container``, ``sandbox`` and ``microvm`` if they are absent."""
    sandbox_overhead_memory: str = "64Mi"
    """Memory that is set aside for a sandbox's kernel beyond its containers' limits: the class's overhead. An idle one
    takes 23 MB (`python -m benchmarks.overhead`)."""
    sandbox_overhead_cpu: str = "20m"
    """CPU that a sandbox costs its host beyond its processes' own use: the class's overhead. An idle one takes 0.3m;
    what its kernel does for busy processes is more."""
    microvm_overhead_memory: str = "128Mi"
    """Memory that is set aside for a microVM beyond its containers' limits: the class's overhead. An idle clone
    takes 59 MB; a machine that boots cold under translation needs it all, and would be killed by its pod's limit."""
    microvm_overhead_cpu: str = "20m"
    """CPU that a microVM costs its host beyond its guest's own use: the class's overhead. An idle one takes 4m under
    translation; what it costs to start is not counted."""
    cluster_cidrs: str = ""
    """The pods' network, of which each node that has no ``spec.podCIDRs`` gets a piece; one of each IP family at most,
    separated by a comma. Empty: nodes get none."""
    node_cidr_prefix_ipv4: int = 24
    """How long the prefix of a node's piece is: 24 leaves 256 addresses to its pods."""
    node_cidr_prefix_ipv6: int = 64
    """The same for IPv6."""
    service_cidrs: str = ""
    """The Services' networks, if they lie within ``cluster_cidrs``: no node gets a part of them."""
    load_balancer_pool: str = ""
    """Addresses for Services of type LoadBalancer: ranges and networks, of both IP families, separated by commas
    (``192.0.2.10-192.0.2.50,2001:db8::/112``). They must be led to the nodes. Empty: such Services get none from us."""
    load_balancer_class: str = "kontinuum.dev/pool"
    """The ``spec.loadBalancerClass`` that we answer to; Services of another class are left alone."""
    autoscaling_seconds: float = 15.0
    """How often HorizontalPodAutoscalers read their metrics."""
    autoscaling_tolerance: float = 0.1
    """By how much a metric may miss its target before anything is scaled: 0.1 is 10 %. An autoscaler may say otherwise
    in ``behavior``."""
    autoscaling_down_window_seconds: float = 300.0
    """Nothing is scaled below what was recommended within this time, unless a ``behavior`` says otherwise."""
    autoscaling_cpu_initialization_seconds: float = 300.0
    """For so long after its start the CPU of a pod counts only while it is ready."""
    autoscaling_initial_readiness_seconds: float = 30.0
    """A pod that became unready within this time after its start is taken for one that was never ready."""

    def __post_init__(self) -> None:
        for name, text in (("cluster_cidrs", self.cluster_cidrs), ("service_cidrs", self.service_cidrs)):
            for one in filter(None, text.split(",")):
                check_network(name, one.strip())
        try:
            Pool.parse(self.load_balancer_pool)
        except ValueError as error:
            raise ValueError(f"load_balancer_pool: {error}") from error
        if self.unused_token_seconds <= 0:
            raise ValueError(f"unused_token_seconds: must be more than 0, not {self.unused_token_seconds:g}")
        if self.autoscaling_seconds <= 0:
            raise ValueError(f"autoscaling_seconds: must be more than 0, not {self.autoscaling_seconds:g}")
        prefixes = {4: self.node_cidr_prefix_ipv4, 6: self.node_cidr_prefix_ipv6}
        networks = [ip_network(one.strip()) for one in filter(None, self.cluster_cidrs.split(","))]
        for network in networks:
            prefix = prefixes[network.version]
            if not network.prefixlen <= prefix <= network.max_prefixlen:
                raise ValueError(f"node_cidr_prefix_ipv{network.version}: {network} has no pieces of length /{prefix}")
        if len({one.version for one in networks}) < len(networks):
            raise ValueError("cluster_cidrs: one network of each IP family at most")
