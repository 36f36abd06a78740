"""Images as files, made by hand: what a test says, and nothing else."""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, content: bytes = b"", **fields: Any) -> Member:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def tar(*members: Member) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def packed(data: bytes, kind: str) -> bytes:
    match kind:
        case "gzip":
            return gzip.compress(data, mtime=0)
        case "zstd":
            return subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout
        case "xz":
            import lzma

            return lzma.compress(data)
        case "bzip2":
            import bz2

            return bz2.compress(data)
    return data


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Image:
    """One image's blobs. ``change`` of the documents makes bad ones."""

    def __init__(
        self, *layers: bytes, compression: str = "gzip", platform: str = "linux/amd64",
        config: Mapping[str, Any] | None = None, manifest: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.blobs: dict[str, bytes] = {}
        os, architecture, *variant = platform.split("/")
        self.platform = {"os": os, "architecture": architecture, **({"variant": variant[0]} if variant else {})}
        suffix = f"+{compression}" if compression else ""
        stored = [packed(layer, compression) for layer in layers]
        self.config = orjson.dumps(
            {**self.platform, "config": {"Cmd": ["/a"]},
             "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]}, **(config or {})}
        )  # fmt: skip
        document = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.add("application/vnd.oci.image.config.v1+json", self.config),
            "layers": [self.add(f"application/vnd.oci.image.layer.v1.tar{suffix}", one) for one in stored],
            **(manifest or {}),
        }
        self.root = self.add("application/vnd.oci.image.manifest.v1+json", orjson.dumps(document))

    def add(self, media_type: str, content: bytes) -> dict[str, Any]:
        self.blobs[digest(content)] = content
        return {"mediaType": media_type, "digest": digest(content), "size": len(content)}


def index(images: Sequence[Image]) -> tuple[dict[str, Any], bytes]:
    """An index of several platforms, as a descriptor and its content."""
    content = orjson.dumps(
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
         "manifests": [{**one.root, "platform": one.platform} for one in images]}
    )  # fmt: skip
    kind = "application/vnd.oci.image.index.v1+json"
    return {"mediaType": kind, "digest": digest(content), "size": len(content)}, content


def layout(roots: Mapping[str, Mapping[str, Any]], blobs: Mapping[str, bytes]) -> bytes:
    """An OCI archive; the keys of ``roots`` are the images' names."""
    entries = [{**root, "annotations": {"io.containerd.image.name": name}} for name, root in roots.items()]
    return tar(
        member("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
        *(member(f"blobs/sha256/{name[7:]}", content) for name, content in blobs.items()),
        member("index.json", orjson.dumps({"schemaVersion": 2, "manifests": entries})),
    )


def simple(name: str = "registry.test/app:1", files: Mapping[str, bytes] | None = None, **more: Any) -> bytes:
    """An archive with one small image."""
    layer = tar(*(member(path, content) for path, content in (files or {"a": b"hello"}).items()))
    image = Image(layer, **more)
    return layout({name: image.root}, image.blobs)
