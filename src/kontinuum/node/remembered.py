"""What a worker remembers of its pod that the runtime cannot tell: failures before there was a container, and probes.

All of it may be lost with the agent: a failure happens again, and a probe is asked again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from kontinuum.foundation.backoff import Backoff
from kontinuum.node.resize import Amounts, Verdict

PULL_BACKOFF = Backoff(initial=10.0, maximum=300.0)
SANDBOX_BACKOFF = Backoff(initial=1.0, maximum=30.0)
VOLUME_BACKOFF = Backoff(initial=0.5, maximum=122.0)
CONFIG_BACKOFF = Backoff(initial=2.0, maximum=10.0)
CREATE_BACKOFF = Backoff(initial=10.0, maximum=300.0)

FRESH_SECONDS = 2.0
"""How long a failure is shown under its own name before it is shown as being waited for, as the kubelet's next
synchronisation would do."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that could not be done, how often in a row, and when (``even_time``) last."""

    reason: str
    message: str
    at: float
    count: int
    backoff: Backoff

    @property
    def retry_at(self) -> float:
        return self.at + self.backoff.delay(self.count - 1)

    def is_fresh(self, now: float) -> bool:
        return now - self.at < FRESH_SECONDS


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a pod is ended by its node; ``reason`` (e.g. ``DeadlineExceeded``) and ``message`` are its status's."""

    reason: str
    message: str
    grace: int | None = None
    """Seconds that its processes get; None: as many as the pod asks for."""
    is_disruption: bool = False
    """Whether it is not the pod's fault: then it gets the condition DisruptionTarget (KEP-3329)."""
    is_refusal: bool = False
    """Whether the node has not taken the pod at all: then there is nothing to say of its containers."""


@dataclass(slots=True)
class Remembered:
    """Changed by the worker alone; ``plan`` and ``status`` only read it."""

    sandbox: Trouble | None = None
    """Why there is no sandbox, or why its volumes cannot be mounted."""
    sandbox_attempts: int = 0
    """Attempts made so far; a failed sandbox may keep its name, so the next must have another number."""
    containers: dict[str, Trouble] = field(default_factory=dict)
    """Why a container could not be made, by its name."""
    ready: dict[str, bool] = field(default_factory=dict)
    """The readiness probe's word, by container id. Absent: not yet known."""
    started: dict[str, bool] = field(default_factory=dict)
    """Whether the startup probe has succeeded, by container id."""
    unhealthy: dict[str, str] = field(default_factory=dict)
    """Containers to be killed because a probe failed, by id: which probe (``liveness`` or ``startup``)."""
    replacing: set[str] = field(default_factory=set)
    """Containers that the node stops to start them again, by id: they do, whatever they answer to that."""
    places: dict[str, Path] = field(default_factory=dict)
    """Where on this machine each of the pod's volumes is, by its name."""
    messages: dict[str, str] = field(default_factory=dict)
    """Termination messages by container id."""
    failed_hooks: dict[str, str] = field(default_factory=dict)
    """What their hook after the start failed with, by the id of the containers that were ended for it."""
    allocated: dict[str, Amounts] = field(default_factory=dict)
    """What each container may use now, by its name: its specification's wish as far as it was granted."""
    actuated: dict[str, Amounts] = field(default_factory=dict)
    """What a container was resized to since it was made, by its id."""
    refused: Verdict | None = None
    """Why the newest wish for other resources is not granted."""
    resize_problem: str = ""
    """Why what was granted could not be carried out yet."""
    resizing: bool = False
    """Whether the pod's own cgroup may still hold more than its containers need."""
    resize_told: bool = False
    """Whether it was told that a resize began, and not yet that it is complete."""
    has_released: bool = False
    """Whether an ended pod's volumes have been given back."""
    ending: Ending | None = None
    """Why the whole pod is to end although its containers could run. None while it may run."""

    def failed(self, name: str, reason: str, message: str, *, now: float, backoff: Backoff) -> Trouble:
        """Note one more failure of container ``name``; the same reason in a row waits longer each time."""
        old = self.containers.get(name)
        count = old.count + 1 if old and old.reason == reason else 1
        self.containers[name] = Trouble(reason, message, now, count, backoff)
        return self.containers[name]

    def sandbox_failed(self, reason: str, message: str, *, now: float, backoff: Backoff) -> None:
        count = self.sandbox.count + 1 if self.sandbox and self.sandbox.reason == reason else 1
        self.sandbox = Trouble(reason, message, now, count, backoff)
