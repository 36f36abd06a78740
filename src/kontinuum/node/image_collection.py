"""Removing images that nobody needs before the disk is full: the kubelet's rules, and when they are looked at.

    every image ──▶ in use or pinned: stays
                └─▶ unused for longer than the maximum age: goes, however much room there is
                └─▶ fuller than the high threshold: the longest unused go, until the low threshold is reached

An image is in use while a container (running or not) was made from it or a pod of this node names it. Nothing is
written down: after a restart of the agent every image counts as just found, and is safe for the minimum age.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import KontinuumError, Retryable
from kontinuum.node.port import ContainerRuntime, NotThere, PresentImage
from kontinuum.node.settings import NodeSettings

log = structlog.get_logger(__name__)

PERIOD_SECONDS = 300.0
"""As the kubelet's."""

Tell = Callable[[str, str, str], None]
"""Records an event of the node: type, reason, message."""


class NotEnoughFreed(Retryable):
    """Everything that may go is gone, and the disk is still too full."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When images go. Percentages are of the file system; ages are seconds, ``maximum_age`` 0 means any age."""

    high_percent: int
    low_percent: int
    minimum_age: float
    maximum_age: float

    @classmethod
    def of(cls, settings: NodeSettings) -> Limits:
        return cls(
            settings.image_gc_high_threshold_percent,
            settings.image_gc_low_threshold_percent,
            settings.image_minimum_gc_age,
            settings.image_maximum_gc_age,
        )


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system, in bytes."""

    capacity: int
    available: int

    @property
    def used_percent(self) -> int:
        return 100 - self.available * 100 // self.capacity


@dataclass(frozen=True, slots=True)
class Seen:
    """What the runtime does not tell of an image: when we found it, and when it was last in use (0: never)."""

    first: float
    used: float = 0.0

    @property
    def idle_since(self) -> float:
        return max(self.first, self.used)


@dataclass(frozen=True, slots=True)
class Plan:
    """``aged`` go in any case; of ``spare``, the longest unused first, as many as make up ``wanted`` bytes."""

    aged: tuple[PresentImage, ...] = ()
    spare: tuple[PresentImage, ...] = ()
    wanted: int = 0


def is_used(image: PresentImage, in_use: Collection[str]) -> bool:
    """``in_use`` holds ids and names as the runtime knows them."""
    return image.id in in_use or any(name in in_use for name in image.names)


def remember(
    seen: Mapping[str, Seen], images: Iterable[PresentImage], in_use: Collection[str], now: float
) -> dict[str, Seen]:
    """What is known of the present images, by id, after another look at them. Images that are gone are forgotten."""
    return {
        image.id: Seen(
            seen[image.id].first if image.id in seen else now,
            now if is_used(image, in_use) else seen[image.id].used if image.id in seen else 0.0,
        )
        for image in images
    }


def plan(
    images: Sequence[PresentImage],
    seen: Mapping[str, Seen],
    in_use: Collection[str],
    disk: Disk,
    limits: Limits,
    now: float,
    *,
    all_unused: bool = False,
) -> Plan:
    """Which images go. ``all_unused``: the node is under pressure, and takes whatever it can get."""
    free = [one for one in images if not one.is_pinned and not is_used(one, in_use)]
    free.sort(key=lambda one: (seen[one.id].used, seen[one.id].first, one.id))
    aged = [one for one in free if limits.maximum_age and now - seen[one.id].idle_since > limits.maximum_age]
    # An image that has just been pulled is about to be used.
    spare = [one for one in free if one not in aged and now - seen[one.id].first >= limits.minimum_age]
    wanted = 0
    if all_unused:
        wanted = sum(one.size for one in spare)
    elif disk.used_percent >= limits.high_percent and limits.high_percent < 100:
        wanted = max(0, disk.capacity * (100 - limits.low_percent) // 100 - disk.available)
    return Plan(tuple(aged), tuple(spare), wanted)


class ImageCollector:
    """Carries plans out, every few minutes and whenever somebody needs room."""

    def __init__(
        self,
        runtime: ContainerRuntime,
        clock: Clock,
        settings: NodeSettings,
        named: Callable[[], Iterable[str]],
        pinned: Callable[[], Awaitable[Collection[str]]],
        tell: Tell,
        kept: Callable[[Collection[str]], None],
        disk: Callable[[Path], Disk] | None = None,
    ) -> None:
        """``named``: the images that pods of this node name, in full. ``pinned``: those that somebody wants to stay;
        it raises Retryable. ``kept`` is told the ids of those that are there afterwards. ``disk`` says how full a
        directory's file system is.
        """
        self._runtime = runtime
        self._clock = clock
        self._limits = Limits.of(settings)
        self._place = settings.data / "containerd" / "root"
        self._sandbox_image = settings.sandbox_image
        self._named = named
        self._pinned = pinned
        self._tell = tell
        self._kept = kept
        self._disk = disk or disk_of
        self._seen: dict[str, Seen] = {}

    async def run(self) -> None:
        """Until cancelled. A failure is told only when it is the second in a row, as by the kubelet."""
        failed = False
        while True:
            try:
                await self.collect_images()
                failed = False
            except (KontinuumError, OSError) as error:
                log.warning("images cannot be collected", error=str(error))
                if failed:
                    self._tell("Warning", "ImageGCFailed", str(error))
                failed = True
            await self._clock.sleep(PERIOD_SECONDS)

    async def collect_images(self, *, all_unused: bool = False) -> int:
        """Remove what the limits ask for, or everything that nobody uses; answers how many bytes that freed.

        Raises NotEnoughFreed if the limits ask for more than could go, and the runtime's errors.
        """
        images, in_use = await self._look()
        now = self._clock.monotonic()
        self._seen = remember(self._seen, images, in_use, now)
        disk = self._disk(self._place)
        if not disk.capacity:
            self._tell("Warning", "InvalidDiskCapacity", "invalid capacity 0 on image filesystem")
            raise NotEnoughFreed("invalid capacity 0 on image filesystem")
        decision = plan(images, self._seen, in_use, disk, self._limits, now, all_unused=all_unused)
        gained = sum([await self._remove(one) for one in decision.aged])
        freed = 0
        for one in decision.spare:
            if freed >= decision.wanted:
                break
            freed += await self._remove(one)
        self._kept(set(self._seen))
        if freed < decision.wanted and not all_unused:
            message = (
                f"Failed to garbage collect required amount of images. Attempted to free {decision.wanted} bytes, "
                f"but only found {freed} bytes eligible to free."
            )
            self._tell("Warning", "FreeDiskSpaceFailed", message)
            raise NotEnoughFreed(message)
        return gained + freed

    async def _look(self) -> tuple[list[PresentImage], frozenset[str]]:
        """Names before containers before images: whatever is made meanwhile is younger than the minimum age."""
        named = set(self._named())
        used = {one.image_id for one in await self._runtime.known_containers()}
        pinned = await self._pinned()
        return await self._runtime.present_images(), frozenset({self._sandbox_image, *named, *used, *pinned})

    async def _remove(self, image: PresentImage) -> int:
        """Bytes gained; an image that cannot go now stays for the next time."""
        log.info("removing an image that nobody uses", image=image.names[:1] or image.id, size=image.size)
        try:
            await self._runtime.remove_image(image.id)
        except NotThere:
            return 0
        except Retryable as error:
            log.warning("an image cannot be removed", image=image.id, error=str(error))
            return 0
        self._seen.pop(image.id, None)
        return image.size


def disk_of(directory: Path) -> Disk:
    """The file system of ``directory``."""
    found = os.statvfs(directory)
    return Disk(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)
