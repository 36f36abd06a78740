"""What is in a store, as people want to see it: names grouped by what they stand for, sizes, platforms, identities."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kontinuum.foundation.errors import Refused
from kontinuum.images.containerd import PINNED
from kontinuum.images.manifests import (
    INDEXES,
    BadImage,
    Configuration,
    Descriptor,
    Manifest,
    NoSuchPlatform,
    Platform,
    choose,
    document_of,
    images_of,
    media_type_of,
    parse_configuration,
    parse_index,
    parse_manifest,
)
from kontinuum.images.references import parse, with_tag
from kontinuum.images.store import ImageStore, StoredImage, read_all


class NoSuchImage(Refused):
    """No image has this name here."""


class Incomplete(BadImage):
    """Some of the image's content is not here."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One image for one platform. ``size`` is what it takes in the store, compressed, in bytes."""

    image: StoredImage
    manifest: Manifest | None = None
    configuration: Configuration | None = None
    platforms: tuple[Platform, ...] = ()
    """All whose content is here."""
    size: int = 0
    problem: str = ""
    """Why more cannot be said."""

    @property
    def id(self) -> str:
        """What the CRI, crictl and ``docker images`` call it: the digest of its configuration."""
        return self.manifest.config.digest if self.manifest else ""


def is_alias(name: str) -> bool:
    """A name that was made beside the one that somebody gave: by id or by digest."""
    return name.startswith("sha256:") or "@" in name


def shown(images: Iterable[StoredImage], *, everything: bool = False) -> list[StoredImage]:
    """The images by the names that people gave them; one that has no other name by its digest."""
    images = sorted(images, key=lambda one: one.name)
    if everything:
        return images
    given = {one.target.digest for one in images if not is_alias(one.name)}
    by_digest = {one.target.digest for one in images if "@" in one.name}
    return [
        one
        for one in images
        if not is_alias(one.name)
        or (one.target.digest not in given and ("@" in one.name or one.target.digest not in by_digest))
    ]


async def find(store: ImageStore, text: str) -> StoredImage:
    """The image called ``text``: a name, or the beginning (six digits or more) of an id or digest.

    Raises NoSuchImage, references.BadReference.
    """
    digits = text.removeprefix("sha256:")
    if len(digits) >= 6 and all(digit in "0123456789abcdef" for digit in digits):
        listed = await store.images()
        if ids := [one for one in listed if one.name.startswith(f"sha256:{digits}")]:
            others = [one for one in listed if one.target.digest == ids[0].target.digest and not is_alias(one.name)]
            return min(others, key=lambda one: one.name, default=ids[0])
        if fitting := [one for one in listed if one.target.digest.startswith(f"sha256:{digits}")]:
            return min(fitting, key=lambda one: (is_alias(one.name), one.name))
    found = await store.image(with_tag(text))
    if found is None:
        raise NoSuchImage(
            f"{with_tag(text)}: there is no such image here; `kontinuum image list` shows those there are"
        )
    return found


async def picture(store: ImageStore, image: StoredImage, platform: Platform) -> Picture:
    """Everything about one image. What is broken or not here is told in ``problem``."""
    try:
        manifests = await _manifests(store, image.target)
        wanted = choose(
            [Descriptor("", one.digest, one.size, platform=about) for about, one in manifests], platform, image.name
        )
        root = next(one for _, one in manifests if one.digest == wanted.digest)
        manifest = parse_manifest(await _document(store, root), root.digest)
        configuration = parse_configuration(await _document(store, manifest.config), manifest.config.digest)
    except NoSuchPlatform as error:
        return Picture(image, platforms=tuple(about for about, _ in manifests), problem=str(error))
    except BadImage as error:
        return Picture(image, problem=str(error))
    sizes = [await store.size(one.digest) for one in manifest.children]
    problem = "" if None not in sizes else "not all layers are here"
    size = root.size + sum(one or 0 for one in sizes)
    return Picture(image, manifest, configuration, tuple(about for about, _ in manifests), size, problem)


async def _manifests(store: ImageStore, root: Descriptor) -> list[tuple[Platform, Descriptor]]:
    """Every image below ``root`` whose manifest is here."""
    document = await _document(store, root)
    if media_type_of(document_of(document, root.digest), root.media_type) not in INDEXES:
        manifest = parse_manifest(document, root.digest)
        configuration = parse_configuration(await _document(store, manifest.config), manifest.config.digest)
        return [(configuration.platform, root)]
    listed = images_of(parse_index(document, root.digest))
    return [pair for one in listed if await store.size(one.digest) for pair in await _manifests(store, one)]


async def _document(store: ImageStore, one: Descriptor) -> bytes:
    if await store.size(one.digest) is None:
        raise Incomplete(f"{one.digest}: it is not here")
    return await read_all(store, one)


async def remove(store: ImageStore, image: StoredImage) -> list[str]:
    """Take a name away, and with an image's last name those that were made beside it; answers all that went."""
    same = [one.name for one in await store.images() if one.target.digest == image.target.digest]
    going = [image.name]
    if not [name for name in same if name != image.name and not is_alias(name)]:
        going += [name for name in same if name != image.name]
    return [name for name in going if await store.remove(name)]


async def tag(store: ImageStore, image: StoredImage, name: str) -> StoredImage:
    """Give an image another name besides those it has."""
    labels = {PINNED: "pinned"} if image.is_pinned else {}
    named = StoredImage(with_tag(name), image.target, labels)
    await store.put(named)
    return named


def to_plain(one: Picture) -> dict[str, Any]:
    """For scripts."""
    reference = parse(one.image.name) if not one.image.name.startswith("sha256:") else None
    return {
        "name": one.image.name,
        "repository": reference.name if reference else "",
        "tag": reference.tag if reference else "",
        "digest": one.image.target.digest,
        "id": one.id,
        "sizeBytes": one.size,
        "platforms": [str(platform) for platform in one.platforms],
        "pinned": one.image.is_pinned,
        "createdAt": one.configuration.document.get("created", "") if one.configuration else "",
        "problem": one.problem,
    }


def in_full(one: Picture) -> dict[str, Any]:
    """Everything that is known of one image."""
    return {
        **to_plain(one),
        "mediaType": one.image.target.media_type,
        "labels": dict(one.image.labels),
        "annotations": one.manifest.annotations if one.manifest else {},
        "layers": [
            {"mediaType": layer.media_type, "digest": layer.digest, "sizeBytes": layer.size}
            for layer in (one.manifest.layers if one.manifest else ())
        ],
        "config": (one.configuration.document.get("config") or {}) if one.configuration else {},
        "diffIds": list(one.configuration.diff_ids) if one.configuration else [],
        "history": one.configuration.document.get("history", []) if one.configuration else [],
    }
