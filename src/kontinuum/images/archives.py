"""Images in files: OCI image layouts and ``docker save`` archives, as tar, compressed or not, from a file or a pipe.

One pass over the archive puts every blob into the store under a lease; then the documents are read, every layer is
looked at and unpacked, and only at the very end the images get their names. Whatever goes wrong before that leaves
nothing behind.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
import secrets
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, BinaryIO

import orjson

from kontinuum.images import layers, oci
from kontinuum.images.bridge import Bridge, bridged
from kontinuum.images.compression import BadCompression, decompressed, kind_of
from kontinuum.images.layers import CarefulInfo, Limits
from kontinuum.images.manifests import (
    CONFIG,
    INDEXES,
    LARGEST_DOCUMENT,
    LAYER,
    MANIFEST,
    BadImage,
    Descriptor,
    Manifest,
    Platform,
    check_digest,
    choose,
    described,
    document_of,
    images_of,
    media_type_of,
    parse_configuration,
    parse_index,
    parse_manifest,
    to_plain,
)
from kontinuum.images.references import BadReference, with_tag
from kontinuum.images.store import (
    CHUNK,
    AlreadyThere,
    ImageStore,
    StoredImage,
    index_references,
    read_all,
    references,
    write_all,
)

DOCUMENTS = ("oci-layout", "index.json", "manifest.json")
BLOBS = "blobs/sha256/"
MOST_MEMBERS = 100_000
HEAD = 8
SUFFIXES = {"": "", "gzip": "+gzip", "zstd": "+zstd"}

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many bytes of it are done, and how many there are (0: not known)."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What of an archive is wanted, and under which name."""

    platform: Platform
    all_platforms: bool = False
    name: str = ""
    """Instead of the names that the archive gives."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of the images: pinned, for example."""


@dataclass(slots=True)
class _Found:
    """What one pass over the archive has found."""

    documents: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, tuple[str, int, bytes]] = field(default_factory=dict)
    """Digest, size and first bytes by the path inside the archive."""
    links: dict[str, str] = field(default_factory=dict)

    def blob(self, path: str) -> tuple[str, int, bytes]:
        """Through links, which old versions of ``docker save`` make of equal layers. Raises BadImage."""
        clean = posixpath.normpath(path)
        for _ in range(len(self.links) + 1):
            if clean in self.blobs:
                return self.blobs[clean]
            if clean not in self.links:
                break
            clean = self.links[clean]
        raise BadImage(f"{path}: it is named by the archive's manifest.json, but not in the archive")


async def import_archive(
    store: ImageStore, source: BinaryIO, wish: Wish, limits: Limits, progress: Progress
) -> list[StoredImage]:
    """Put the images of an archive into the store; answers them as they are named there.

    Raises BadImage, layers.BadLayer, BadContent, BadReference, StoreFailed; then no image was added or changed.
    """
    async with store.lease(), bridged() as bridge:
        found = await bridge.in_thread(lambda: _Reading(store, bridge, limits, progress).read(source))
        roots = await _roots(store, found, wish)
        for root in roots.values():
            await admit(store, root, wish, limits, bridge, progress)
        images = [StoredImage(name, replace(root, annotations={}), wish.labels) for name, root in roots.items()]
        for image in images:
            await store.put(image)
        return images


class _Reading:
    """The pass over the archive, in a thread."""

    def __init__(self, store: ImageStore, bridge: Bridge, limits: Limits, progress: Progress) -> None:
        self._store = store
        self._bridge = bridge
        self._limits = limits
        self._progress = progress
        self._bytes = 0
        self._ref = f"import-{secrets.token_hex(8)}"

    def read(self, source: BinaryIO) -> _Found:
        peekable = io.BufferedReader(_Raw(source, self._bridge), CHUNK)
        kind = kind_of(peekable.peek(HEAD)[:HEAD])
        found = _Found()
        try:
            with (
                decompressed(peekable, kind) as plain,
                tarfile.open(fileobj=plain, mode="r|", bufsize=CHUNK, tarinfo=CarefulInfo) as archive,
            ):
                for count, member in enumerate(archive):
                    if count > MOST_MEMBERS:
                        raise BadImage(f"the archive has more than {MOST_MEMBERS} members")
                    layers.forget(archive)
                    self._take(archive, member, found)
        except (tarfile.TarError, BadCompression, EOFError, OverflowError) as error:
            raise BadImage(f"this is no archive of images: {error}") from error
        return found

    def _take(self, archive: tarfile.TarFile, member: tarfile.TarInfo, found: _Found) -> None:
        path = posixpath.normpath(member.name)
        if member.issym() or member.islnk():
            target = member.linkname if member.islnk() else posixpath.join(posixpath.dirname(path), member.linkname)
            found.links[path] = posixpath.normpath(target)
            return
        content = archive.extractfile(member) if member.isreg() else None
        if content is None:
            return
        self._bytes += member.size
        if self._bytes > self._limits.unpacked:
            raise BadImage(f"the archive holds more than the {self._limits.unpacked} bytes that are allowed")
        if path in DOCUMENTS:
            if member.size > LARGEST_DOCUMENT:
                raise BadImage(f"{path}: {member.size} bytes are more than the {LARGEST_DOCUMENT} that are read")
            found.documents[path] = content.read()
            return
        promised = check_digest(f"sha256:{path.removeprefix(BLOBS)}", path) if path.startswith(BLOBS) else ""
        found.blobs[path] = self._store_blob(path, content, member.size, promised)

    def _store_blob(self, path: str, content: Any, size: int, promised: str) -> tuple[str, int, bytes]:
        """Into the store. Without a promise the digest is known when everything has been written."""
        wait, digest, head = self._bridge.wait, hashlib.sha256(), b""
        ref = f"{self._ref}-{hashlib.sha256(path.encode()).hexdigest()}"
        context = self._store.writer(ref, digest=promised, size=size)
        try:
            writer = wait(context.__aenter__())
        except AlreadyThere:
            # It still has to be what it claims: the archive's bytes are looked at, and not kept.
            writer = None
        try:
            while piece := content.read(CHUNK):
                head = head or piece[:HEAD]
                digest.update(piece)
                if writer is not None:
                    wait(writer.write(piece))
                self._progress(path.rpartition("/")[2], len(piece), size)
            actual = f"sha256:{digest.hexdigest()}"
            if promised and promised != actual:
                raise BadImage(f"{path}: the content has another digest: {actual}")
            if writer is not None:
                _commit(wait, writer)
        except BaseException as error:
            if writer is not None:
                wait(context.__aexit__(type(error), error, error.__traceback__))
                wait(self._store.abort(ref))
            raise
        if writer is not None:
            wait(context.__aexit__(None, None, None))
        return actual, size, head


def _commit(wait: Callable[..., Any], writer: Any) -> None:
    try:
        wait(writer.commit({}))
    except AlreadyThere:
        return


class _Raw(io.RawIOBase):
    """A file or a pipe, whose reading ends when nobody waits any more."""

    def __init__(self, source: BinaryIO, bridge: Bridge) -> None:
        self._source = source
        self._bridge = bridge

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._bridge.check()
        data = self._source.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


# What the archive says


async def _roots(store: ImageStore, found: _Found, wish: Wish) -> dict[str, Descriptor]:
    """Each image's name and where it begins."""
    if "index.json" in found.documents and "oci-layout" in found.documents:
        named = list(_of_layout(found.documents["index.json"]))
        if any(not name for name, _ in named) and "manifest.json" in found.documents:
            # Newer ``docker save`` writes both, and says whole names only in its own.
            named = await _of_docker(store, found, found.documents["manifest.json"])
    elif "manifest.json" in found.documents:
        named = await _of_docker(store, found, found.documents["manifest.json"])
    else:
        raise BadImage("this is no archive of images: it has neither index.json with oci-layout nor manifest.json")
    if not named:
        raise BadImage("the archive has no images")
    if wish.name:
        if len({root.digest for _, root in named}) > 1:
            raise BadImage(f"the archive has {len(named)} images: one name is not enough for them")
        return {with_tag(wish.name): named[0][1]}
    if nameless := [root for name, root in named if not name]:
        raise BadReference(f"the archive does not name its image {nameless[0].digest[:19]}: say its name with --name")
    return dict(named)


def _of_layout(content: bytes) -> Iterable[tuple[str, Descriptor]]:
    for one in parse_index(content, "index.json"):
        whole, short = one.annotations.get(oci.CONTAINERD_NAME, ""), one.annotations.get(oci.OCI_NAME, "")
        # A tag alone names nothing: a whole name has a repository, or a tag of its own.
        name = whole or (short if "/" in short or ":" in short else "")
        yield (with_tag(name) if name else "", one)


async def _of_docker(store: ImageStore, found: _Found, content: bytes) -> list[tuple[str, Descriptor]]:
    """``manifest.json`` lists configuration and layers; a manifest is written for them."""
    try:
        listed = orjson.loads(content)
        entries = [(one["Config"], one.get("RepoTags") or [""], one.get("Layers") or []) for one in listed]
    except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError) as error:
        raise BadImage(f"manifest.json: this is not what `docker save` writes: {error!r}") from error
    named: list[tuple[str, Descriptor]] = []
    for config, tags, paths in entries:
        digest, size, _ = found.blob(config)
        manifest = Manifest(
            Descriptor(CONFIG, digest, size),
            tuple(_layer(path, *found.blob(path)) for path in paths),
        )
        plain = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": to_plain(manifest.config),
            "layers": [to_plain(one) for one in manifest.layers],
        }
        document = orjson.dumps(plain)
        root = described(MANIFEST, document)
        await write_all(store, root, document, references(manifest))
        named += [(with_tag(tag) if tag else "", root) for tag in tags]
    return named


def _layer(path: str, digest: str, size: int, head: bytes) -> Descriptor:
    kind = kind_of(head)
    if kind not in SUFFIXES:
        raise BadImage(f"{path}: a layer compressed with {kind} is none that the image specification knows")
    return Descriptor(f"{LAYER}{SUFFIXES[kind]}", digest, size)


# Letting an image in


async def admit(
    store: ImageStore, root: Descriptor, wish: Wish, limits: Limits, bridge: Bridge, progress: Progress
) -> None:
    """Check an image whose content is in the store: complete, truthful, harmless. Then label and unpack it.

    Raises BadImage, layers.BadLayer, BadContent.
    """
    document = await _document(store, root)
    kind = media_type_of(document_of(document, root.digest), root.media_type)
    if kind in INDEXES:
        listed = parse_index(document, root.digest)
        wanted = images_of(listed) if wish.all_platforms else [choose(listed, wish.platform, root.digest)]
        await store.label(root.digest, index_references(wanted))
        for one in wanted:
            await admit(store, replace(one, urls=()), wish, limits, bridge, progress)
        return
    manifest = parse_manifest(document, root.digest)
    configuration = parse_configuration(await _document(store, manifest.config), manifest.config.digest)
    if len(configuration.diff_ids) != len(manifest.layers):
        raise BadImage(
            f"{root.digest}: the configuration knows {len(configuration.diff_ids)} layers, the manifest "
            f"{len(manifest.layers)}"
        )
    left = limits
    for layer, diff_id in zip(manifest.layers, configuration.diff_ids, strict=True):
        left = await check_layer(store, layer, diff_id, left, bridge, progress)
    await store.label(root.digest, references(manifest))
    if wish.platform.runs(configuration.platform):
        progress("unpacking", 0, 0)
        await store.unpack(manifest, configuration.diff_ids)


async def check_layer(
    store: ImageStore, layer: Descriptor, diff_id: str, limits: Limits, bridge: Bridge, progress: Progress
) -> Limits:
    """Read a layer through; answers what is left of ``limits``."""
    await _expect(store, layer)
    progress(f"checking {layer.digest[7:19]}", 0, 0)
    reader = io.BufferedReader(bridge.reader(store.read(layer.digest)), CHUNK)
    try:
        scanned = await bridge.in_thread(lambda: layers.scan(reader, layer.compression, limits))
    except layers.BadLayer as error:
        raise layers.BadLayer(f"layer {layer.digest}: {error}") from error
    if scanned.diff_id != diff_id:
        raise BadImage(f"layer {layer.digest}: it unpacks to {scanned.diff_id}, but the configuration says {diff_id}")
    return Limits(limits.unpacked - scanned.size, limits.entries - scanned.entries)


async def _document(store: ImageStore, one: Descriptor) -> bytes:
    await _expect(store, one)
    if one.size > LARGEST_DOCUMENT:
        raise BadImage(f"{one.digest}: {one.size} bytes are more than the {LARGEST_DOCUMENT} that are looked at")
    return await read_all(store, one)


async def _expect(store: ImageStore, one: Descriptor) -> None:
    size = await store.size(one.digest)
    if size is None:
        why = "its maker does not let it be in archives; pull the image instead" if one.is_foreign else "it is missing"
        raise BadImage(f"{one.media_type} {one.digest}: {why}")
    if size != one.size:
        raise BadImage(f"{one.digest}: it has {size} bytes, but {one.size} were promised")


# Writing


async def export(store: ImageStore, images: Sequence[StoredImage], target: Path, progress: Progress) -> None:
    """Write images as one OCI archive; what of an index is not in the store is left out of it.

    Raises BadImage, StoreFailed, OSError. The archive appears under its name when it is complete.
    """
    unfinished = target.with_name(f".{target.name}.partial")
    try:
        async with bridged() as bridge:
            blobs = [one for image in images for one in await _reachable(store, image.target)]
            named = [(image.name, image.target) for image in images]
            contents = _contents(bridge, store, blobs, progress)
            await bridge.in_thread(lambda: oci.write_layout(unfinished, named, contents))
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


async def _reachable(store: ImageStore, root: Descriptor) -> list[Descriptor]:
    if await store.size(root.digest) is None:
        return []
    document = await _document(store, root)
    if media_type_of(document_of(document, root.digest), root.media_type) in INDEXES:
        listed = images_of(parse_index(document, root.digest))
        return [root, *[child for one in listed for child in await _reachable(store, one)]]
    children = parse_manifest(document, root.digest).children
    for child in children:
        if not child.is_foreign:
            await _expect(store, child)
    return [root, *[child for child in children if await store.size(child.digest) is not None]]


def _contents(
    bridge: Bridge, store: ImageStore, blobs: Sequence[Descriptor], progress: Progress
) -> Iterator[tuple[Descriptor, IO[bytes]]]:
    """Each blob once, opened when its turn comes and told of when it has been read."""
    for one in {blob.digest: blob for blob in blobs}.values():
        yield one, io.BufferedReader(bridge.reader(store.read(one.digest)), CHUNK)
        progress(one.digest[7:19], one.size, one.size)
