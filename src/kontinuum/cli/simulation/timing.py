"""When each pod was created, bound and running, as a watch shows it; and what that amounts to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kontinuum.api.machinery.objects import Object, name_of, uid_of

PHASES = ("created", "bound", "running")


@dataclass(slots=True)
class Lap:
    """One step of a simulation: how many pods were asked for at once, and the times of each. Seconds."""

    began: float
    wanted: int
    created: dict[str, float] = field(default_factory=dict)
    bound: dict[str, float] = field(default_factory=dict)
    running: dict[str, float] = field(default_factory=dict)

    def note(self, pod: Object, now: float) -> None:
        """A pod as it is now; one that was there before this lap is no news."""
        uid = uid_of(pod)
        self.created.setdefault(uid, now)
        if pod["spec"].get("nodeName"):
            self.bound.setdefault(uid, now)
        if pod["status"].get("phase") == "Running":
            self.running.setdefault(uid, now)

    @property
    def is_over(self) -> bool:
        return len(self.running) >= self.wanted

    def waits(self) -> dict[str, list[float]]:
        """By phase: from the beginning to creation, from creation to binding, from binding to running."""
        return {
            "created": [at - self.began for at in self.created.values()],
            "bound": [at - self.created[uid] for uid, at in self.bound.items()],
            "running": [at - self.bound[uid] for uid, at in self.running.items() if uid in self.bound],
        }

    def seconds(self, phase: str) -> float:
        """From the beginning until the last pod was there."""
        return max(getattr(self, phase).values(), default=self.began) - self.began


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of ``values`` lie (nearest rank); 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the curve. Seconds; bytes and seconds of processor time by part."""

    nodes: int
    pods: int
    """All that are there at its end."""
    new: int
    p50: dict[str, float]
    p99: dict[str, float]
    took: dict[str, float]
    """By phase: from asking for the new pods until the last of them was there."""
    memory: dict[str, int]
    processor: dict[str, float]


def point(lap: Lap, *, nodes: int, pods: int, memory: dict[str, int], processor: dict[str, float]) -> Point:
    waits = lap.waits()
    return Point(
        nodes=nodes,
        pods=pods,
        new=lap.wanted,
        p50={phase: percentile(waits[phase], 0.5) for phase in PHASES},
        p99={phase: percentile(waits[phase], 0.99) for phase in PHASES},
        took={phase: lap.seconds(phase) for phase in PHASES},
        memory=memory,
        processor=processor,
    )


def steps(total: int, count: int) -> list[int]:
    """How many pods there are after each of ``count`` steps: each time twice as many, ``total`` at last."""
    return sorted({max(1, total >> shift) for shift in range(count)})


def fingerprint(pods: Iterable[Object]) -> str:
    """The same for the same pods on the same nodes, and hardly for any others."""
    places = sorted(f"{name_of(pod)} {pod['spec'].get('nodeName', '')}\n" for pod in pods)
    return hashlib.sha256("".join(places).encode()).hexdigest()[:16]
