"""The cgroups above the pods', one for each quality of service, as the kubelet lays them out.

kubepods              all pods: no more memory, processes and threads than are not reserved
├─ pod<uid>           Guaranteed
├─ burstable          of the processors, when they are short, what its pods ask for together
│  └─ pod<uid>
└─ besteffort         the least there is
   └─ pod<uid>
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from kontinuum.api.machinery.objects import Object
from kontinuum.node import cgroups, pods
from kontinuum.node.allocatable import Amounts
from kontinuum.node.cgroups import PodLimits
from kontinuum.node.settings import NodeSettings

BELOW = {"Guaranteed": "", "Burstable": "/burstable", "BestEffort": "/besteffort"}


def of_all(settings: NodeSettings) -> str:
    return f"{settings.cgroup}/kubepods"


def cgroup_of(settings: NodeSettings, pod: Object) -> str:
    """Where the pod's containers run, in every hierarchy."""
    return f"{of_all(settings)}{BELOW[pods.qos_class(pod)]}/pod{pod['metadata']['uid']}"


def possible(settings: NodeSettings, uid: str) -> tuple[str, ...]:
    """Where a pod of which only the UID is known may run."""
    return tuple(f"{of_all(settings)}{below}/pod{uid}" for below in BELOW.values())


def prepare(settings: NodeSettings, for_all: Amounts, root: Path = cgroups.ROOT) -> None:
    """Make the cgroups; ``for_all`` is what all pods together may use. Raises OSError."""
    limits = PodLimits(cpu_request=for_all.cpu)
    if settings.enforce_node_allocatable:
        limits = replace(limits, memory_limit=for_all.memory, pids=for_all.pids)
    cgroups.create(of_all(settings), limits, root)
    for below in filter(None, BELOW.values()):
        cgroups.create(of_all(settings) + below, PodLimits(), root)


def share_out(settings: NodeSettings, known: Iterable[Object], root: Path = cgroups.ROOT) -> None:
    """Give the Burstable pods what they ask for together. Raises OSError."""
    burstable = [pod for pod in known if pods.qos_class(pod) == "Burstable" and not pods.is_terminal(pod)]
    asked = sum(cgroups.pod_request(pod, "cpu") for pod in burstable)
    cgroups.create(of_all(settings) + BELOW["Burstable"], PodLimits(cpu_request=asked), root)
