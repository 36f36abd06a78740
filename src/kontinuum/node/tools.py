"""What every worker of this node is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from kontinuum.api.machinery.objects import Object
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import Clock
from kontinuum.node import cgroups
from kontinuum.node.checks import Checks
from kontinuum.node.fields import Surroundings
from kontinuum.node.images import Puller
from kontinuum.node.port import Config, ContainerRuntime, Features
from kontinuum.node.probe_counts import ProbeCounts
from kontinuum.node.services import Services
from kontinuum.node.settings import NodeSettings
from kontinuum.node.sources import Sources
from kontinuum.node.status import HostFacts
from kontinuum.node.tokens import Tokens
from kontinuum.node.volumes.scratch import Scratch


class Recorder(Protocol):
    """Tells people about an object (``client.events.EventRecorder``)."""

    def event(self, obj: Object, type_: str, reason: str, message: str, *, field_path: str = "") -> None: ...


@dataclass(frozen=True, slots=True)
class Tools:
    """The outside world, as the workers know it."""

    client: Client
    runtime: ContainerRuntime
    clock: Clock
    settings: NodeSettings
    events: Recorder
    sources: Sources
    services: Services
    tokens: Tokens
    puller: Puller
    scratch: Scratch
    checks: Checks
    host: HostFacts
    host_resolver: Config
    node_cpu: int
    """Allocatable millicores."""
    node_memory: int
    """Allocatable bytes."""
    node_storage: int = 0
    """Allocatable bytes of the node's disk; 0: not counted."""
    features: Features = field(default_factory=Features)
    """Of the runtime."""
    probe_counts: ProbeCounts = field(default_factory=ProbeCounts)
    cgroup_root: Path = field(default=cgroups.ROOT)

    def around(self, pod_ips: tuple[str, ...]) -> Surroundings:
        return Surroundings(pod_ips, self.host.ip, self.node_cpu, self.node_memory)

    def pod_directory(self, uid: str) -> Path:
        return self.settings.data / "pods" / uid
