"""OCI images made from a directory: into an image-layout archive, or straight into a store.

The layout is that of the OCI image specification 1.1 (``oci-layout``, ``index.json``, ``blobs/sha256``); containerd
imports it as it is. The same directory gives the same digests: owners, times and order are normalised.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import orjson

from kontinuum.images import layers
from kontinuum.images.bridge import bridged
from kontinuum.images.compression import gzip_compressor
from kontinuum.images.manifests import CONFIG, LAYER, MANIFEST, Descriptor, Manifest, Platform, described, to_plain
from kontinuum.images.store import AlreadyThere, ImageStore, StoredImage, references, write_all

EPOCH = "1970-01-01T00:00:00Z"
CONTAINERD_NAME, OCI_NAME = "io.containerd.image.name", "org.opencontainers.image.ref.name"
"""Annotations of an archive's index: the first is always a whole name, the second is often a tag alone."""


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What a container of the image runs when the pod does not say otherwise."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
    directory: str = "/"
    user: str = ""
    stop_signal: str = ""
    ports: tuple[str, ...] = ()
    """``80/tcp``: which ports its process serves, for people to read."""
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The ``config`` member of an OCI image configuration; empty fields are left out."""
        fields = {
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.command),
            "Env": list(self.environment),
            "WorkingDir": self.directory,
            "User": self.user,
            "StopSignal": self.stop_signal,
            "ExposedPorts": {port: {} for port in sorted(self.ports)},
            "Volumes": {volume: {} for volume in sorted(self.volumes)},
            "Labels": dict(sorted(self.labels.items())),
        }
        return {key: value for key, value in fields.items() if value}


@dataclass(frozen=True, slots=True)
class Built:
    """One image of one layer: its documents, and the layer that is written already."""

    manifest: Manifest
    documents: tuple[tuple[Descriptor, bytes], ...]
    """Configuration and manifest, in the order in which they must be written."""

    @property
    def root(self) -> Descriptor:
        return self.documents[-1][0]


def documents(
    layer: Descriptor,
    diff_id: str,
    config: ImageConfig,
    platform: Platform,
    *,
    created: str = EPOCH,
    annotations: Mapping[str, str] | None = None,
) -> Built:
    """What is written about ``layer`` to make it an image. ``created`` is RFC 3339."""
    architecture: dict[str, str] = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        architecture["variant"] = platform.variant
    configuration = orjson.dumps(
        {
            **architecture,
            "created": created,
            "config": config.as_json(),
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": created, "created_by": "kontinuum"}],
        }
    )
    described_config = described(CONFIG, configuration)
    plain: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": to_plain(described_config),
        "layers": [to_plain(layer)],
    }
    if annotations:
        plain["annotations"] = dict(sorted(annotations.items()))
    manifest = orjson.dumps(plain)
    root = replace(described(MANIFEST, manifest), platform=platform)
    parsed = Manifest(described_config, (layer,), dict(annotations or {}))
    return Built(parsed, ((described_config, configuration), (root, manifest)))


def build_archive(target: Path, *, reference: str, root: Path, config: ImageConfig) -> str:
    """Write an archive with one single-layer image named ``reference`` to ``target``; answers the manifest's digest.

    The archive appears under its name only when it is complete.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".partial")
    with tempfile.TemporaryFile(dir=target.parent) as spool:
        digest, size = hashlib.sha256(), 0

        def out(data: bytes) -> None:
            nonlocal size
            spool.write(data)
            digest.update(data)
            size += len(data)

        diff_id = layers.write(root, out, gzip_compressor())
        layer = Descriptor(f"{LAYER}+gzip", f"sha256:{digest.hexdigest()}", size)
        built = documents(layer, diff_id, config, Platform.here())
        spool.seek(0)
        documented = [(one, io.BytesIO(content)) for one, content in built.documents]
        write_layout(unfinished, [(reference, built.root)], [*documented, (layer, spool)])
    unfinished.replace(target)
    return built.root.digest


def write_layout(
    target: Path, images: Iterable[tuple[str, Descriptor]], blobs: Iterable[tuple[Descriptor, IO[bytes]]]
) -> None:
    """Write an archive of ``blobs``, which are read in their turn, in which ``images`` have these names."""
    entries = [
        # containerd names an image by the first annotation, other tools by the second.
        replace(root, annotations={CONTAINERD_NAME: name, OCI_NAME: name.rpartition(":")[2]})
        for name, root in images
    ]
    index = orjson.dumps({"schemaVersion": 2, "manifests": [to_plain(entry) for entry in entries]})
    with tarfile.open(target, "w") as archive:

        def add(name: str, size: int, content: IO[bytes]) -> None:
            member = tarfile.TarInfo(name)
            member.size, member.mode = size, 0o644
            archive.addfile(member, content)

        for name, document in (("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", index)):
            add(name, len(document), io.BytesIO(document))
        for one, content in blobs:
            add(f"blobs/{one.digest.replace(':', '/')}", one.size, content)


async def build(
    store: ImageStore,
    root: Path,
    name: str,
    config: ImageConfig,
    *,
    platform: Platform,
    created: str = EPOCH,
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    keep_owners: bool = False,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> StoredImage:
    """Make the files below ``root`` an image called ``name`` in ``store``.

    Raises layers.BadLayer, OSError, StoreFailed; then the store is as it was before.
    """
    async with store.lease(), bridged() as bridge:
        ref, digest, size = f"build-{secrets.token_hex(8)}", hashlib.sha256(), 0
        try:
            async with store.writer(ref) as writer:

                def out(data: bytes) -> None:
                    nonlocal size
                    digest.update(data)
                    size += len(data)
                    bridge.wait(writer.write(data))
                    progress("layer", len(data), 0)

                diff_id = await bridge.in_thread(
                    lambda: layers.write(root, out, gzip_compressor(), keep_owners=keep_owners)
                )
                # The same was built before: then there is nothing to commit.
                with suppress(AlreadyThere):
                    await writer.commit({"containerd.io/uncompressed": diff_id})
        except BaseException:
            await store.abort(ref)
            raise
        layer = Descriptor(f"{LAYER}+gzip", f"sha256:{digest.hexdigest()}", size)
        built = documents(layer, diff_id, config, platform, created=created, annotations=annotations)
        for one, content in built.documents:
            await write_all(store, one, content, references(built.manifest) if one is built.root else {})
        if Platform.here().runs(platform):
            await store.unpack(built.manifest, (diff_id,))
        image = StoredImage(name, replace(built.root, platform=None), labels or {})
        await store.put(image)
        return image
