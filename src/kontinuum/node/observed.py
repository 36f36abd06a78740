"""What the container runtime says is there: values, no I/O. Times are seconds since the epoch; 0 means not yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
POD_UID = "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"
"""Labels on everything we make, the kubelet's own, so that other tools and a restarted agent know what is whose."""

STREAK = "kontinuum.dev/crash-streak"
"""Annotation of a container: the crashes in a row before it. By it, back-off survives a restart of the agent."""
TERMINATION_MESSAGE_POLICY = "io.kubernetes.container.terminationMessagePolicy"
RESOURCES = "kontinuum.dev/resources"
"""Annotation of a container: the requests and limits with which it was made, as JSON."""
IMAGE_ASKED_FOR = "kontinuum.dev/image"
"""Annotation of a container: the image as the pod's specification named it when the container was made."""


class ContainerState(Enum):
    CREATED = 0
    RUNNING = 1
    EXITED = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One attempt at a pod's sandbox."""

    id: str
    pod_uid: str
    namespace: str
    name: str
    attempt: int
    is_ready: bool
    created_at: float
    handler: str = ""
    ips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class User:
    """Whom a container's first process began as, by numbers."""

    uid: int
    gid: int
    groups: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Container:
    """One attempt at a container."""

    id: str
    sandbox_id: str
    name: str
    attempt: int
    state: ContainerState
    created_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    image: str = ""
    image_id: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    user: User | None = None
    """Whom the runtime has started it as; None from those that do not tell (containerd before 2.0)."""
    only_read_below: frozenset[str] = frozenset()
    """Where its read-only mounts are so with all that lies below them."""
    even: tuple[float, float] | None = None
    """When it began and ended by the agent's ``even_time``; None: by the runtime's stamps."""

    @property
    def began(self) -> float:
        """For measuring how long ago that was; 0 means not yet."""
        return self.started_at if self.even is None else self.even[0]

    @property
    def ended(self) -> float:
        return (self.finished_at or self.created_at) if self.even is None else self.even[1]

    @property
    def is_running(self) -> bool:
        return self.state is ContainerState.RUNNING

    @property
    def has_exited(self) -> bool:
        return self.state in (ContainerState.EXITED, ContainerState.UNKNOWN)

    @property
    def streak(self) -> int:
        """Crashes in a row before this attempt."""
        return int(self.annotations.get(STREAK, self.attempt))


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything of one pod, newest first."""

    sandboxes: tuple[Sandbox, ...] = ()
    containers: tuple[Container, ...] = ()

    @staticmethod
    def of(sandboxes: Iterable[Sandbox], containers: Iterable[Container]) -> Observed:
        return Observed(
            tuple(sorted(sandboxes, key=lambda sandbox: (sandbox.attempt, sandbox.created_at), reverse=True)),
            tuple(sorted(containers, key=lambda container: (container.attempt, container.created_at), reverse=True)),
        )

    @property
    def sandbox(self) -> Sandbox | None:
        """The newest sandbox, ready or not."""
        return self.sandboxes[0] if self.sandboxes else None

    def attempts(self, name: str) -> list[Container]:
        """All attempts at the container ``name``, newest first."""
        return [container for container in self.containers if container.name == name]

    def latest(self, name: str) -> Container | None:
        return next(iter(self.attempts(name)), None)

    def current(self, name: str) -> Container | None:
        """The newest attempt at ``name`` if it belongs to the newest sandbox."""
        latest = self.latest(name)
        return latest if latest and self.sandbox and latest.sandbox_id == self.sandbox.id else None

    @property
    def is_empty(self) -> bool:
        return not self.sandboxes and not self.containers
