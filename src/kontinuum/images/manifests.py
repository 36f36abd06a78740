"""The documents of the OCI image specification 1.1, and Docker's older ones, which say the same: read and checked.

    index ──▶ manifests, one for each platform ──▶ config
                                               └─▶ layers, the lowest first

Pure: bytes in, values out. Everything here comes from strangers, so every field is looked at before it is used.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from kontinuum.foundation import processor
from kontinuum.foundation.errors import Refused

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_OLD = "application/vnd.docker.distribution.manifest.v1"
EMPTY = "application/vnd.oci.empty.v1+json"

INDEXES = (INDEX, DOCKER_LIST)
MANIFESTS = (MANIFEST, DOCKER_MANIFEST)
LAYERS = {
    f"{base}{suffix}": compression
    for base, suffixes in (
        (LAYER, {"": "", "+gzip": "gzip", "+zstd": "zstd"}),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar", {"": "", "+gzip": "gzip", "+zstd": "zstd"}),
        (DOCKER_LAYER, {"": "", ".gzip": "gzip", ".zstd": "zstd"}),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar", {"": "", ".gzip": "gzip"}),
    )
    for suffix, compression in suffixes.items()
}
"""Each media type of a layer and how it is compressed ("" is not)."""
LARGEST_DOCUMENT = 4 << 20
"""Bytes of one manifest, as registries accept."""
MOST_LAYERS = 500
DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


class BadImage(Refused):
    """The image is not what the specification asks for; the message says where."""


class NotAnImage(BadImage):
    """An OCI artifact of another kind (a chart, a signature, a bill of materials): nothing that a container can run."""


class NoSuchPlatform(BadImage):
    """The index has no image for the platform that was asked for."""


@dataclass(frozen=True, slots=True)
class Platform:
    """``linux/arm64/v8``."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Raises BadImage."""
        parts = text.split("/")
        if not 2 <= len(parts) <= 3 or not all(parts):
            raise BadImage(f"{text!r} is no platform: write OS/ARCHITECTURE, for example linux/amd64")
        return cls(*parts)

    @classmethod
    def here(cls) -> Platform:
        """This machine's."""
        return cls("linux", processor.architecture())

    def runs(self, other: Platform) -> bool:
        """Whether an image for ``other`` runs on us; an image that says no variant runs on all of them."""
        mine, theirs = (_VARIANTS.get(one.architecture, "") for one in (self, other))
        same = (self.os, self.architecture) == (other.os, other.architecture)
        return same and (other.variant or theirs) in ("", self.variant or mine)


_VARIANTS = {"arm64": "v8", "arm": "v7"}
"""What is meant where no variant is said."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What one document says of another: its kind, its digest and its size in bytes."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = field(default_factory=dict)
    platform: Platform | None = None
    urls: tuple[str, ...] = ()

    @property
    def is_foreign(self) -> bool:
        """A layer that its maker does not want in other registries; it comes from its own address."""
        return "nondistributable" in self.media_type or ".foreign." in self.media_type

    @property
    def compression(self) -> str:
        return LAYERS[self.media_type]


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: dict[str, str] = field(default_factory=dict)

    @property
    def children(self) -> tuple[Descriptor, ...]:
        return (self.config, *self.layers)


@dataclass(frozen=True, slots=True)
class Configuration:
    """What of an image's configuration is needed to unpack it and to show it."""

    platform: Platform
    diff_ids: tuple[str, ...]
    document: dict[str, Any]


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def described(media_type: str, content: bytes) -> Descriptor:
    return Descriptor(media_type, digest_of(content), len(content))


def check_digest(text: object, where: str) -> str:
    """Raises BadImage unless ``text`` is a digest: it becomes part of paths."""
    if not isinstance(text, str) or not DIGEST.fullmatch(text):
        raise BadImage(f"{where}: {text!r} is no digest")
    return text


def document_of(content: bytes, where: str) -> dict[str, Any]:
    """A JSON object. Raises BadImage."""
    if len(content) > LARGEST_DOCUMENT:
        raise BadImage(f"{where}: {len(content)} bytes are more than the {LARGEST_DOCUMENT} that are looked at")
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise BadImage(f"{where}: this is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadImage(f"{where}: an object is needed, not {type(found).__name__}")
    return found


def media_type_of(document: dict[str, Any], told: str = "") -> str:
    """The document's own word, else that of who sent it, else what its shape says."""
    said = document.get("mediaType") or told.partition(";")[0].strip()
    if said in (*INDEXES, *MANIFESTS):
        return str(said)
    if "manifests" in document:
        return INDEX
    if "config" in document and "layers" in document:
        return MANIFEST
    return str(said)


def parse_index(content: bytes, where: str = "index") -> tuple[Descriptor, ...]:
    """The images (or further indexes) that an index lists. Raises BadImage."""
    return _descriptors(document_of(content, where).get("manifests"), f"{where}: manifests")


def parse_manifest(content: bytes, where: str = "manifest") -> Manifest:
    """Raises NotAnImage for other artifacts, BadImage for what is broken."""
    document = document_of(content, where)
    if document.get("schemaVersion") == 1:
        raise BadImage(f"{where}: Docker's schema 1 ended in 2017; push the image again with a newer tool")
    if document.get("schemaVersion") != 2:
        raise BadImage(f"{where}: schemaVersion must be 2, not {document.get('schemaVersion')!r}")
    config = _descriptor(document.get("config"), f"{where}: config")
    kind = document.get("artifactType") or config.media_type
    if config.media_type not in (CONFIG, DOCKER_CONFIG):
        raise NotAnImage(f"{where}: this is an artifact of type {kind}, not an image that a container can run")
    layers = _descriptors(document.get("layers"), f"{where}: layers")
    for layer in layers:
        if layer.media_type not in LAYERS:
            raise NotAnImage(f"{where}: a layer of type {layer.media_type} is no file system")
    if len(layers) > MOST_LAYERS:
        raise BadImage(f"{where}: {len(layers)} layers are more than the {MOST_LAYERS} that are unpacked")
    return Manifest(config, layers, _words(document.get("annotations"), f"{where}: annotations"))


def parse_configuration(content: bytes, where: str = "config") -> Configuration:
    """Raises BadImage."""
    document = document_of(content, where)
    rootfs = document.get("rootfs")
    ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(ids, list):
        raise BadImage(f"{where}: rootfs.diff_ids is missing")
    parts = [document.get(key) or "" for key in ("os", "architecture", "variant")]
    if not all(isinstance(part, str) for part in parts):
        raise BadImage(f"{where}: os, architecture and variant are words")
    platform = Platform(parts[0] or "linux", parts[1] or Platform.here().architecture, parts[2])
    return Configuration(platform, tuple(check_digest(one, f"{where}: rootfs.diff_ids") for one in ids), document)


def choose(listed: Iterable[Descriptor], wanted: Platform, where: str) -> Descriptor:
    """The one image of an index that runs on ``wanted``; the exact variant before a general one.

    Raises NoSuchPlatform and says which there are.
    """
    images = [one for one in listed if not _is_attestation(one)]
    fitting = [one for one in images if one.platform is None or wanted.runs(one.platform)]
    fitting.sort(key=lambda one: (one.platform is None, one.platform is not None and not one.platform.variant))
    if not fitting:
        have = ", ".join(sorted({str(one.platform) for one in images if one.platform})) or "none"
        raise NoSuchPlatform(f"{where}: there is no image for {wanted}; there are: {have}")
    return fitting[0]


def images_of(listed: Iterable[Descriptor]) -> list[Descriptor]:
    """Every image of an index, without attestations, which claim to be images of an unknown platform."""
    return [one for one in listed if not _is_attestation(one)]


def chain_ids(diff_ids: Iterable[str]) -> list[str]:
    """The names of the layers' snapshots: each stands for a layer and all below it (image-spec, "Layer ChainID")."""
    chain: list[str] = []
    for one in diff_ids:
        chain.append(digest_of(f"{chain[-1]} {one}".encode()) if chain else one)
    return chain


def to_plain(one: Descriptor) -> dict[str, Any]:
    """A descriptor as it is written."""
    plain: dict[str, Any] = {"mediaType": one.media_type, "digest": one.digest, "size": one.size}
    if one.platform is not None:
        plain["platform"] = {"os": one.platform.os, "architecture": one.platform.architecture}
        if one.platform.variant:
            plain["platform"]["variant"] = one.platform.variant
    if one.urls:
        plain["urls"] = list(one.urls)
    if one.annotations:
        plain["annotations"] = one.annotations
    return plain


def with_annotations(one: Descriptor, **more: str) -> Descriptor:
    return replace(one, annotations={**one.annotations, **more})


def _is_attestation(one: Descriptor) -> bool:
    unknown = one.platform is not None and one.platform.os == "unknown"
    return unknown or one.annotations.get("vnd.docker.reference.type") == "attestation-manifest"


def _descriptors(value: object, where: str) -> tuple[Descriptor, ...]:
    if not isinstance(value, list):
        raise BadImage(f"{where}: a list is needed")
    return tuple(_descriptor(one, f"{where}[{index}]") for index, one in enumerate(value))


def _descriptor(value: object, where: str) -> Descriptor:
    if not isinstance(value, dict):
        raise BadImage(f"{where}: an object is needed")
    size, media_type, urls = value.get("size"), value.get("mediaType"), value.get("urls") or []
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise BadImage(f"{where}: size {size!r} is no number of bytes")
    if not isinstance(media_type, str) or not media_type:
        raise BadImage(f"{where}: mediaType is missing")
    if not isinstance(urls, list) or not all(isinstance(one, str) for one in urls):
        raise BadImage(f"{where}: urls are a list of addresses")
    return Descriptor(
        media_type,
        check_digest(value.get("digest"), where),
        size,
        _words(value.get("annotations"), f"{where}: annotations"),
        _platform(value.get("platform"), f"{where}: platform"),
        tuple(urls),
    )


def _platform(value: object, where: str) -> Platform | None:
    if value is None:
        return None
    parts = [value.get(key) or "" for key in ("os", "architecture", "variant")] if isinstance(value, dict) else [None]
    if not all(isinstance(part, str) for part in parts):
        raise BadImage(f"{where}: os, architecture and variant are words")
    return Platform(*map(str, parts))


def _words(value: object, where: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise BadImage(f"{where}: words under words are needed")
    return value
