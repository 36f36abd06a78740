"""OCI images without a registry: a root file system directory in, an OCI image-layout archive out.

The layout is that of the OCI image specification 1.1 (``oci-layout``, ``index.json``, ``blobs/sha256``); containerd
imports it as it is. The same directory gives the same digests: owners, times and order are normalised.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import platform
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EPOCH = "1970-01-01T00:00:00Z"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What a container of the image runs when the pod does not say otherwise."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
    directory: str = "/"
    user: str = ""
    stop_signal: str = ""

    def as_json(self) -> dict[str, Any]:
        """The ``config`` member of an OCI image configuration; empty fields are left out."""
        fields = {
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.command),
            "Env": list(self.environment),
            "WorkingDir": self.directory,
            "User": self.user,
            "StopSignal": self.stop_signal,
        }
        return {key: value for key, value in fields.items() if value}


def build_archive(target: Path, *, reference: str, root: Path, config: ImageConfig) -> str:
    """Write an archive with one single-layer image named ``reference`` to ``target``; answers the manifest's digest.

    The archive appears under its name only when it is complete.
    """
    layer = _layer(root)
    compressed = gzip.compress(layer, compresslevel=1, mtime=0)
    blobs: dict[str, bytes] = {}

    def add(media_type: str, content: bytes) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        blobs[digest] = content
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    this_platform = {"architecture": ARCHITECTURES[platform.machine()], "os": "linux"}
    configuration = {
        **this_platform,
        "created": EPOCH,
        "config": config.as_json(),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created": EPOCH, "created_by": "kontinuum"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": add(CONFIG, orjson.dumps(configuration)),
        "layers": [add(LAYER, compressed)],
    }
    described = add(MANIFEST, orjson.dumps(manifest))
    described["platform"] = this_platform
    described["annotations"] = {
        # containerd names the image by the first, other tools by the second.
        "io.containerd.image.name": reference,
        "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
    }
    _write_layout(target, index={"schemaVersion": 2, "manifests": [described]}, blobs=blobs)
    digest: str = described["digest"]
    return digest


def _layer(root: Path) -> bytes:
    """The directory's content as an uncompressed tar, the same bytes for the same content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in sorted(root.iterdir()):
            archive.add(entry, arcname=entry.name, filter=_normalised)
    return buffer.getvalue()


def _normalised(member: tarfile.TarInfo) -> tarfile.TarInfo:
    # Image files belong to root whoever unpacked them; build times would make every build a new digest.
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    return member


def _write_layout(target: Path, *, index: dict[str, Any], blobs: dict[str, bytes]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".partial")
    with tarfile.open(unfinished, "w") as archive:

        def add(name: str, content: bytes) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mode = 0o644
            archive.addfile(member, io.BytesIO(content))

        add("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        add("index.json", orjson.dumps(index))
        for digest, content in blobs.items():
            add(f"blobs/sha256/{digest.partition(':')[2]}", content)
    unfinished.replace(target)
