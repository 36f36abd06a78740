"""What the node asks of a container runtime: the part of the CRI that is used, in Python's words.

``cri.CriClient`` speaks it to containerd; the tests' ``FakeRuntime`` plays it in virtual time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from kontinuum.foundation.errors import Refused, Retryable
from kontinuum.node.observed import Observed, Sandbox

Config = dict[str, Any]
"""A CRI message as a mapping with the CRI's field names."""


class RuntimeAway(Retryable):
    """containerd does not answer; it may be restarting."""


class RuntimeFailed(Retryable):
    """The runtime tried and failed; ``str(error)`` is what it said."""


class RuntimeTimedOut(RuntimeFailed):
    """The call, or what ran inside a container, took longer than it was given."""


class NotThere(Refused):
    """The sandbox, container or image does not exist (any more)."""


@dataclass(frozen=True, slots=True)
class Executed:
    """The end of a command that ran inside a container."""

    exit_code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is present. ``size`` is in bytes; ``user`` is its numeric default user, if it is numeric."""

    id: str
    size: int
    user: int | None = None
    user_name: str = ""


@dataclass(frozen=True, slots=True)
class PresentImage:
    """One image of those that are present, by all its names (digests and tags); ``size`` is in bytes."""

    names: tuple[str, ...]
    size: int
    id: str = ""
    is_pinned: bool = False
    """Whether the runtime was told to keep it."""


@dataclass(frozen=True, slots=True)
class KnownContainer:
    """One attempt at a container as the runtime lists it, of whatever pod; ``created_at`` in seconds since the epoch.

    ``image_id`` is the ``id`` of the image it was made from.
    """

    id: str
    pod_uid: str
    name: str
    image_id: str
    is_dead: bool
    created_at: float


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The states of one pod's parts; when it changes, the pod deserves a look."""

    namespace: str
    name: str
    states: frozenset[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """What a running container has used: CPU time since its start in nanoseconds, memory (working set) in bytes.

    ``time`` is when that was read, in seconds since the epoch. ``layer_...`` is what it has written over its image.
    What the runtime does not tell is None.
    """

    id: str
    pod_uid: str
    namespace: str
    pod: str
    container: str
    time: float
    cpu_nanoseconds: int
    memory_bytes: int
    layer_bytes: int = 0
    layer_inodes: int = 0
    memory_usage_bytes: int | None = None
    rss_bytes: int | None = None
    page_faults: int | None = None
    major_page_faults: int | None = None


@dataclass(frozen=True, slots=True)
class Features:
    """What the runtime says that it can do. Handlers are named; the default one's name is ""."""

    user_namespaces: frozenset[str] = frozenset()
    """Handlers whose pods can have users of their own."""
    recursive_read_only_mounts: frozenset[str] = frozenset()
    """Handlers that can make all read-only that lies below a mount too."""
    supplemental_groups_policy: bool = False
    """Whether the groups that an image's /etc/group gives can be left out."""


class ContainerRuntime(Protocol):
    """Every method raises RuntimeAway, RuntimeFailed or NotThere. Repeating stop and remove is harmless."""

    async def version(self) -> tuple[str, str]: ...

    async def features(self) -> Features: ...

    async def fingerprints(self) -> Mapping[str, Fingerprint]: ...

    async def observe(self, pod_uid: str) -> Observed: ...

    async def run_sandbox(self, config: Config, handler: str) -> str: ...

    async def stop_sandbox(self, sandbox_id: str) -> None: ...

    async def remove_sandbox(self, sandbox_id: str) -> None: ...

    async def create_container(self, sandbox_id: str, config: Config, sandbox_config: Config) -> str: ...

    async def start_container(self, container_id: str) -> None: ...

    async def stop_container(self, container_id: str, grace: int) -> None: ...

    async def update_container(self, container_id: str, resources: Config) -> None:
        """Change a running container's limits; ``resources`` is a LinuxContainerResources."""
        ...

    async def remove_container(self, container_id: str) -> None: ...

    async def execute(self, container_id: str, command: list[str], timeout: float) -> Executed: ...

    async def known_containers(self) -> list[KnownContainer]:
        """All there are, dead ones too."""
        ...

    async def image(self, reference: str) -> Image | None: ...

    async def present_images(self) -> list[PresentImage]: ...

    async def pull(self, reference: str, credentials: Config | None, sandbox_config: Config) -> str: ...

    async def remove_image(self, image_id: str) -> None:
        """Remove an image under all its names."""
        ...

    async def exec_url(self, container_id: str, command: list[str], streams: Config) -> str: ...

    async def port_forward_url(self, sandbox_id: str, ports: list[int]) -> str: ...

    async def network_namespace(self, sandbox_id: str) -> str: ...

    async def reopen_log(self, container_id: str) -> None: ...

    async def usage(self) -> list[ContainerUsage]:
        """Of every running container whose numbers can be had."""
        ...

    async def memory(self, sandbox: Sandbox) -> Mapping[str, int]:
        """Bytes that each running container of the sandbox uses and cannot be taken back, by its name."""
        ...

    async def attach_url(self, container_id: str, streams: Config) -> str: ...
