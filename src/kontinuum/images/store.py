"""Where images lie: what importing, building, pulling and pushing ask of it.

``services.Containerd`` is containerd's own store, which the CRI reads too; the tests' store is a dictionary. Content
lies under its digest and is kept by what refers to it: a name by the images table, a child by its parent's labels, and
what was just written by a lease. So a command that is killed half-way leaves nothing that anybody could run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from kontinuum.foundation.errors import Refused, Retryable
from kontinuum.images.containerd import PINNED
from kontinuum.images.manifests import INDEXES, Descriptor, Manifest

CHUNK = 1 << 20
"""Bytes that are handed on at once."""


class StoreFailed(Retryable):
    """The store tried and failed; ``str(error)`` is what it said."""


class StoreAway(StoreFailed):
    """containerd does not answer."""


class Busy(StoreFailed):
    """Somebody else is writing the same content just now."""


class BadContent(Refused):
    """What was written is not what its digest promised."""


class AlreadyThere(Exception):
    """The content is in the store; it was not written again."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A name and what it stands for."""

    name: str
    target: Descriptor
    labels: Mapping[str, str] = field(default_factory=dict)
    created_at: float = 0.0

    @property
    def is_pinned(self) -> bool:
        return self.labels.get(PINNED) == "pinned"


class Writer(Protocol):
    """One piece of content that is being written."""

    @property
    def offset(self) -> int:
        """Bytes that are there already, from an earlier attempt too."""
        ...

    async def write(self, data: bytes) -> None: ...

    async def commit(self, labels: Mapping[str, str]) -> str:
        """Everything is written: the content appears under its digest, which is answered.

        Raises BadContent if it is another than was promised; nothing of it is kept then.
        """
        ...


class ImageStore(Protocol):
    """Every method raises StoreFailed."""

    def lease(self) -> AbstractAsyncContextManager[None]:
        """Keep what is written inside the block until its end, though nothing refers to it yet."""
        ...

    async def size(self, digest: str) -> int | None:
        """Bytes of a piece of content; None if it is not there."""
        ...

    async def labels(self, digest: str) -> Mapping[str, str]: ...

    async def label(self, digest: str, labels: Mapping[str, str]) -> None:
        """Add labels; children that are named by them are kept as long as this is."""
        ...

    def read(self, digest: str, offset: int = 0) -> AsyncIterator[bytes]: ...

    def writer(self, ref: str, *, digest: str = "", size: int = 0) -> AbstractAsyncContextManager[Writer]:
        """Begin, or go on with, writing what ``ref`` names. A block that is left without commit can be gone on with.

        Raises AlreadyThere, Busy.
        """
        ...

    async def abort(self, ref: str) -> None:
        """Forget what was written of ``ref``, so that it begins anew."""
        ...

    async def images(self) -> list[StoredImage]: ...

    async def image(self, name: str) -> StoredImage | None: ...

    async def put(self, image: StoredImage) -> None:
        """Give a name to content, whatever it stood for before."""
        ...

    async def remove(self, name: str) -> bool:
        """Whether there was such a name."""
        ...

    async def unpack(self, manifest: Manifest, diff_ids: Sequence[str]) -> None:
        """Make the layers into file systems, so that the first container starts at once. Raises BadContent."""
        ...


async def read_all(store: ImageStore, one: Descriptor) -> bytes:
    """A document from the store. Raises BadContent if it is longer than its descriptor says."""
    parts: list[bytes] = []
    size = 0
    async for part in store.read(one.digest):
        size += len(part)
        if size > one.size:
            raise BadContent(f"{one.digest}: it is longer than the {one.size} bytes that were promised")
        parts.append(part)
    return b"".join(parts)


async def write_all(store: ImageStore, one: Descriptor, content: bytes, labels: Mapping[str, str]) -> None:
    """Put a document into the store; harmless if it is there, whose labels are completed then."""
    try:
        async with store.writer(ref_of(one), digest=one.digest, size=one.size) as writer:
            await writer.write(content[writer.offset :])
            await writer.commit(labels)
    except AlreadyThere:
        await store.label(one.digest, labels)


def ref_of(one: Descriptor) -> str:
    """Under which name a piece is written: containerd's own, so that two who want the same do not both fetch it."""
    kind = "index" if one.media_type in INDEXES else "manifest" if "manifest" in one.media_type else ""
    kind = kind or ("layer" if "layer" in one.media_type or "rootfs" in one.media_type else "config")
    return f"{kind}-{one.digest}"


def references(manifest: Manifest) -> dict[str, str]:
    """The labels by which a manifest keeps its content."""
    layers = {f"containerd.io/gc.ref.content.l.{index}": one.digest for index, one in enumerate(manifest.layers)}
    return {"containerd.io/gc.ref.content.config": manifest.config.digest, **layers}


def index_references(images: Sequence[Descriptor]) -> dict[str, str]:
    """The labels by which an index keeps its images."""
    return {f"containerd.io/gc.ref.content.m.{index}": one.digest for index, one in enumerate(images)}


async def pinned(store: ImageStore) -> frozenset[str]:
    """The names of the images that are to stay though nothing uses them."""
    return frozenset(one.name for one in await store.images() if one.is_pinned)
