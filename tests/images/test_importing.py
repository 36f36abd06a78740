"""Archives become images whole or not at all, whatever is in them."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.images.archives import Image, digest, index, layout, member, packed, simple, tar
from tests.images.memory_store import MemoryStore

from kontinuum.foundation.errors import KontinuumError
from kontinuum.images.archives import Wish, export, import_archive
from kontinuum.images.layers import BadLayer, Limits
from kontinuum.images.manifests import BadImage, NoSuchPlatform, NotAnImage, Platform
from kontinuum.images.references import BadReference
from kontinuum.images.store import BadContent, StoredImage

AMD64 = Platform("linux", "amd64")


async def bring(store: MemoryStore, archive: bytes, *, limits: Limits | None = None, **wish: Any) -> list[StoredImage]:
    wanted = Wish(wish.pop("platform", AMD64), **wish)
    return await import_archive(store, io.BytesIO(archive), wanted, limits or Limits(), lambda *_: None)


@pytest.mark.parametrize("around", ["", "gzip", "zstd", "xz", "bzip2"])
@pytest.mark.parametrize("inside", ["", "gzip", "zstd"])
async def test_archives_and_layers_may_be_compressed(around: str, inside: str) -> None:
    store = MemoryStore()
    [image] = await bring(store, packed(simple(compression=inside), around))
    assert image.name == "registry.test/app:1" and set(store.named) == {"registry.test/app:1"}
    assert len(store.content) == 3 and len(store.unpacked) == 1


def docker(*, links: bool = False, tags: list[str] | None = None, config: bytes = b"", layer: bytes = b"") -> bytes:
    """What ``docker save`` wrote until version 24: names instead of digests, and links between equal layers."""
    layer = layer or tar(member("a", b"hello"))
    body = config or orjson.dumps(
        {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [digest(layer)] * 2}}
    )
    second = (
        member("two/layer.tar", type=b"2", linkname="../one/layer.tar") if links else member("two/layer.tar", layer)
    )
    entry = {"Config": "c.json", "RepoTags": tags, "Layers": ["one/layer.tar", "two/layer.tar"]}
    return tar(
        member("one/layer.tar", layer), second, member("c.json", body),
        member("manifest.json", orjson.dumps([entry])), member("repositories", b"{}"),
    )  # fmt: skip


@pytest.mark.parametrize("links", [False, True])
async def test_what_docker_saves_is_an_image_too(links: bool) -> None:
    store = MemoryStore()
    images = await bring(store, docker(links=links, tags=["app:1", "app:2"]))
    assert [one.name for one in images] == ["docker.io/library/app:1", "docker.io/library/app:2"]
    assert len(store.content) == 3  # both layers are the same


async def test_an_archive_without_names_needs_one() -> None:
    store = MemoryStore()
    with pytest.raises(BadReference, match="--name"):
        await bring(store, docker(tags=None))
    assert not store.content
    await bring(store, docker(tags=None), name="mine")
    assert set(store.named) == {"docker.io/library/mine:latest"}


async def test_of_an_index_the_platform_comes_that_is_wanted_or_all_do() -> None:
    images = [
        Image(tar(member(name, b"x")), platform=platform)
        for name, platform in (("a", "linux/amd64"), ("b", "linux/arm64/v8"), ("c", "unknown/unknown"))
    ]
    root, content = index(images)
    blobs = {root["digest"]: content} | {key: data for one in images for key, data in one.blobs.items()}
    archive = layout({"registry.test/app:1": root}, blobs)
    store = MemoryStore()
    await bring(store, archive)
    assert len(store.content) == 4 and len(store.unpacked) == 1
    await bring(store, archive, all_platforms=True)
    assert len(store.content) == 7  # what claims to be of no platform is an attestation
    with pytest.raises(NoSuchPlatform, match=r"no image for linux/s390x; there are: linux/amd64, linux/arm64/v8"):
        await bring(MemoryStore(), archive, platform=Platform("linux", "s390x"))


async def test_an_exported_image_comes_back_as_it_was(tmp_path: Path) -> None:
    store, other = MemoryStore(), MemoryStore()
    [image] = await bring(store, simple())
    await export(store, [image], tmp_path / "image.tar", lambda *_: None)
    assert [one.name for one in tmp_path.iterdir()] == ["image.tar"]
    with (tmp_path / "image.tar").open("rb") as file:
        [again] = await import_archive(other, file, Wish(AMD64), Limits(), lambda *_: None)
    assert again.target.digest == image.target.digest and other.content == store.content


def bomb() -> bytes:
    """64 KB that unpack to 64 MB."""
    image = Image(tar(member("zeros", bytes(64 << 20))))
    return layout({"registry.test/app:1": image.root}, image.blobs)


def layer_of(*members: Any) -> bytes:
    image = Image(tar(*members))
    return layout({"registry.test/app:1": image.root}, image.blobs)


def broken(change: Any) -> bytes:
    image = Image(tar(member("a", b"hello")))
    change(image)
    return layout({"registry.test/app:1": image.root}, image.blobs)


def lie(image: Image) -> None:
    key = next(iter(image.blobs))
    image.blobs[key] += b" "


def lose_layer(image: Image) -> None:
    del image.blobs[list(image.blobs)[1]]


def chart() -> bytes:
    image = Image(tar(member("a", b"x")))
    config = image.add("application/vnd.cncf.helm.config.v1+json", b"{}")
    root = image.add(
        "application/vnd.oci.image.manifest.v1+json",
        orjson.dumps({"schemaVersion": 2, "config": config, "layers": []}),
    )
    return layout({"registry.test/chart:1": root}, image.blobs)


def huge_header() -> bytes:
    """An entry whose extended header says that it is 4 GB long."""
    info, _ = member("x", type=b"x")
    info.size = 4 << 30
    head = info.tobuf(tarfile.USTAR_FORMAT)
    image = Image(head + bytes(10_240))
    return layout({"registry.test/app:1": image.root}, image.blobs)


BAD = {
    "no archive": (b"hello", BadImage, "no archive of images"),
    "empty": (b"", BadImage, "no archive of images"),
    "nothing known inside": (tar(member("a", b"x")), BadImage, "neither index.json"),
    "a gzip that is cut off": (packed(simple(), "gzip")[:-20], BadImage, "ends in the middle"),
    "a zstd that is cut off": (packed(simple(), "zstd")[:-20], BadImage, "broken"),
    "a tar that is cut off": (simple()[:4000], BadImage, "no archive of images"),
    "another content than its digest": (broken(lie), BadImage, "another digest"),
    "a layer that is missing": (broken(lose_layer), BadImage, "it is missing"),
    "a path that leads out": (layer_of(member("../../etc/passwd", b"x")), BadLayer, "leads out of the image"),
    "a link that leads out": (
        layer_of(member("a", type=b"1", linkname="../../etc/passwd")), BadLayer, "leads out of the image",
    ),
    "a whiteout of everything": (layer_of(member("d/.wh...", b"")), BadLayer, "more than one name"),
    "a bomb": (bomb(), BadLayer, "unpacks to more than"),
    "a header for gigabytes": (huge_header(), BadLayer, "extended header"),
    "another layer than the configuration says": (
        simple(config={"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}}), BadImage, "unpacks to",
    ),
    "fewer layers than the configuration says": (
        simple(config={"rootfs": {"type": "layers", "diff_ids": []}}), BadImage, "knows 0 layers",
    ),
    "no digest": (
        simple(config={"rootfs": {"type": "layers", "diff_ids": ["../../x"]}}), BadImage, "is no digest",
    ),
    "a chart": (chart(), NotAnImage, "artifact of type application/vnd.cncf.helm.config"),
    "an artifact with an image's shape": (
        simple(manifest={"layers": [{"mediaType": "text/plain", "digest": "sha256:" + "0" * 64, "size": 1}]}),
        NotAnImage, "text/plain is no file system",
    ),
    "the first version of the format": (simple(manifest={"schemaVersion": 1}), BadImage, "schema 1"),
    "a name that is none": (simple(name="NOT A NAME"), BadReference, "invalid reference format"),
    "a size that is none": (
        simple(manifest={"layers": [{"mediaType": "x", "digest": "sha256:" + "0" * 64, "size": -1}]}),
        BadImage, "no number of bytes",
    ),
    "docker's without its layers": (
        tar(member("manifest.json", orjson.dumps([{"Config": "c", "RepoTags": ["a"], "Layers": []}]))),
        BadImage, "not in the archive",
    ),
    "docker's with nonsense": (tar(member("manifest.json", b'["x"]')), BadImage, "docker save"),
    "docker's with links in a circle": (
        tar(
            member("a", type=b"2", linkname="b"), member("b", type=b"2", linkname="a"),
            member("manifest.json", orjson.dumps([{"Config": "a", "RepoTags": ["a"], "Layers": []}])),
        ),
        BadImage, "not in the archive",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_archive_is_refused_and_leaves_nothing(what: str) -> None:
    archive, kind, words = BAD[what]
    store = MemoryStore()
    with pytest.raises(kind, match=words):
        await bring(store, archive, limits=Limits(unpacked=16 << 20))
    assert not store.named and not store.content and not store.ingests and not store.unpacked


async def test_a_bad_archive_does_not_hurt_the_image_that_has_its_name() -> None:
    store = MemoryStore()
    [image] = await bring(store, simple())
    before = dict(store.content)
    with pytest.raises(BadImage):
        await bring(store, BAD["fewer layers than the configuration says"][0])
    assert store.named["registry.test/app:1"].target == image.target and store.content == before


async def test_content_that_is_there_already_must_still_be_true() -> None:
    store = MemoryStore()
    await bring(store, simple())
    with pytest.raises(BadImage, match="another digest"):
        await bring(store, broken(lie), name="registry.test/other:1")
    assert set(store.named) == {"registry.test/app:1"}


@given(st.integers(0, 1 << 30), st.sampled_from(["", "gzip"]), st.sampled_from(["flip", "cut", "double"]))
@settings(max_examples=150, deadline=None)
async def test_a_damaged_archive_is_imported_as_it_was_or_not_at_all(seed: int, around: str, damage: str) -> None:
    whole = simple(files={"a": b"hello" * 50, "b/c": b"x" * 700})
    random_ = random.Random(seed)
    data = bytearray(packed(whole, around))
    if damage == "flip":
        data[random_.randrange(len(data))] ^= 1 << random_.randrange(8)
    elif damage == "cut":
        del data[random_.randrange(len(data)) :]
    else:
        data += data[: random_.randrange(len(data))]
    store = MemoryStore()
    try:
        await bring(store, bytes(data))
    except (KontinuumError, BadContent):
        assert not store.named and not store.content and not store.ingests
    else:
        for one in store.content:
            assert one == f"sha256:{hashlib.sha256(store.content[one]).hexdigest()}"
        assert len(store.content) == 3
