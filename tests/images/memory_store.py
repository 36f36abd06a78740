"""An image store in memory that is as strict as containerd's: promises are checked, and what nothing keeps is gone."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from kontinuum.images.manifests import Manifest, chain_ids
from kontinuum.images.store import AlreadyThere, BadContent, Busy, StoredImage, Writer


class MemoryStore:
    """See ``store.ImageStore``. Only digests of sha256."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.content_labels: dict[str, dict[str, str]] = {}
        self.ingests: dict[str, bytearray] = {}
        self.named: dict[str, StoredImage] = {}
        self.unpacked: list[str] = []
        self.writing: set[str] = set()
        self.leases = 0
        self.written: list[str] = []
        """Digests in the order in which they were committed."""

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[None]:
        self.leases += 1
        try:
            yield
        finally:
            self.leases -= 1
            self.collect()

    def collect(self) -> None:
        """Forget what nothing keeps."""
        kept: set[str] = set()
        todo = [one.target.digest for one in self.named.values()]
        while todo:
            digest = todo.pop()
            if digest in kept:
                continue
            kept.add(digest)
            labels = self.content_labels.get(digest, {})
            todo += [value for key, value in labels.items() if key.startswith("containerd.io/gc.ref.content")]
        if not self.leases:
            self.content = {digest: data for digest, data in self.content.items() if digest in kept}

    async def size(self, digest: str) -> int | None:
        return len(self.content[digest]) if digest in self.content else None

    async def labels(self, digest: str) -> Mapping[str, str]:
        return self.content_labels[digest]

    async def label(self, digest: str, labels: Mapping[str, str]) -> None:
        assert digest in self.content
        self.content_labels[digest].update(labels)

    async def read(self, digest: str, offset: int = 0) -> AsyncIterator[bytes]:
        data = self.content[digest][offset:]
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]

    @asynccontextmanager
    async def writer(self, ref: str, *, digest: str = "", size: int = 0) -> AsyncIterator[Writer]:
        if digest in self.content:
            raise AlreadyThere(digest)
        if ref in self.writing:
            raise Busy(f"ref {ref} locked")
        self.writing.add(ref)
        try:
            yield _Writer(self, ref, digest, size)
        finally:
            self.writing.discard(ref)

    async def abort(self, ref: str) -> None:
        self.ingests.pop(ref, None)

    async def images(self) -> list[StoredImage]:
        return list(self.named.values())

    async def image(self, name: str) -> StoredImage | None:
        return self.named.get(name)

    async def put(self, image: StoredImage) -> None:
        assert image.target.digest in self.content
        self.named[image.name] = replace(image, created_at=1.0)

    async def remove(self, name: str) -> bool:
        found = self.named.pop(name, None)
        self.collect()
        return found is not None

    async def unpack(self, manifest: Manifest, diff_ids: Sequence[str]) -> None:
        assert all(one.digest in self.content for one in manifest.layers)
        self.unpacked += chain_ids(diff_ids)


class _Writer:
    def __init__(self, store: MemoryStore, ref: str, digest: str, size: int) -> None:
        self._store, self._ref, self._digest, self._size = store, ref, digest, size
        self._store.ingests.setdefault(ref, bytearray())

    @property
    def offset(self) -> int:
        return len(self._store.ingests[self._ref])

    async def write(self, data: bytes) -> None:
        self._store.ingests[self._ref] += data

    async def commit(self, labels: Mapping[str, str]) -> str:
        data = bytes(self._store.ingests.pop(self._ref))
        actual = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if (self._digest and actual != self._digest) or (self._size and len(data) != self._size):
            raise BadContent(f"unexpected commit digest {actual}, expected {self._digest}")
        if actual in self._store.content:
            raise AlreadyThere(actual)
        self._store.content[actual] = data
        self._store.content_labels[actual] = dict(labels)
        self._store.written.append(actual)
        return actual
