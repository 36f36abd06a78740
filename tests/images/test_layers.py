"""A directory becomes a layer with everything that means something, and the same bytes each time."""

from __future__ import annotations

import io
import os
import socket
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.images.archives import member, packed, tar
from tests.images.memory_store import MemoryStore

from kontinuum.images import layers, listing, oci
from kontinuum.images.compression import BadCompression, Plain, decompressed, gzip_compressor, kind_of
from kontinuum.images.layers import BadLayer, Limits
from kontinuum.images.listing import NoSuchImage
from kontinuum.images.manifests import Platform, chain_ids, digest_of
from kontinuum.images.references import BadReference, parse


def written(root: Path, **how: bool) -> bytes:
    parts: list[bytes] = []
    layers.write(root, parts.append, Plain(), **how)
    return b"".join(parts)


def test_links_modes_devices_and_attributes_are_kept_and_sockets_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"x" * 3000)
    (tmp_path / "a").chmod(0o4755)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    (tmp_path / "link").symlink_to("/nowhere")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "long").mkdir()
    deep = tmp_path / "long" / ("n" * 200)
    deep.write_text("ü")
    try:
        os.setxattr(tmp_path / "a", "user.note", b"\xff\x00binary")
        has_attributes = True
    except OSError:
        has_attributes = False
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)
        listener.bind("sock")
        data = written(tmp_path)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {one.name: one for one in archive.getmembers()}
        assert set(found) == {"a", "b", "link", "fifo", "long", f"long/{deep.name}"}
        assert found["a"].mode == 0o4755 and found["a"].uid == 0 and found["a"].mtime == 0
        assert found["b"].islnk() and found["b"].linkname == "a" and found["link"].linkname == "/nowhere"
        assert found["fifo"].isfifo()
        if has_attributes:
            note = found["a"].pax_headers["SCHILY.xattr.user.note"]
            assert note.encode("utf-8", "surrogateescape") == b"\xff\x00binary"
    os.utime(tmp_path / "a", (1, 1))
    assert written(tmp_path) == data
    assert layers.scan(io.BytesIO(data), "", Limits()).diff_id == digest_of(data)


def test_a_name_that_would_remove_another_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".wh.passwd").touch()
    with pytest.raises(BadLayer, match=r"\.wh\.passwd: a name that begins with \.wh\."):
        written(tmp_path)


@given(st.lists(st.binary(max_size=5000), max_size=4), st.sampled_from(["", "gzip", "xz", "bzip2"]))
def test_what_was_packed_comes_out_again_member_after_member(parts: list[bytes], kind: str) -> None:
    source = b"".join(packed(part, kind) for part in parts)
    if source or kind == "":
        with decompressed(io.BytesIO(source), kind) as plain:  # type: ignore[arg-type]
            assert plain.read() == b"".join(parts)
        if kind and parts:
            assert kind_of(source) == kind


@pytest.mark.parametrize("kind", ["gzip", "zstd", "xz", "bzip2"])
@pytest.mark.parametrize("damage", ["cut", "noise"])
def test_broken_compression_is_told(kind: str, damage: str) -> None:
    whole = packed(os.urandom(50_000), kind)
    broken = whole[:-30] if damage == "cut" else whole[:100] + b"noise" + whole[200:]
    with pytest.raises(BadCompression), decompressed(io.BytesIO(broken), kind) as plain:  # type: ignore[arg-type]
        while plain.read(10_000):
            pass


def test_a_bomb_is_stopped_where_the_limit_is() -> None:
    bomb = packed(tar(member("zeros", bytes(30 << 20))), "gzip")
    with pytest.raises(BadLayer, match="more than the 1000000 bytes"):
        layers.scan(io.BytesIO(bomb), "gzip", Limits(unpacked=1_000_000))
    with pytest.raises(BadLayer, match="more than 3 entries"):
        layers.scan(io.BytesIO(tar(*(member(str(number)) for number in range(5)))), "", Limits(entries=3))


def test_snapshots_are_named_by_all_layers_below() -> None:
    one, two = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    assert chain_ids([]) == [] and chain_ids([one]) == [one]
    assert chain_ids([one, two]) == [one, digest_of(f"{one} {two}".encode())]


def test_a_reference_is_taken_apart() -> None:
    digest = "sha256:" + "a" * 64
    whole = parse(f"r.test:5000/team/app:1@{digest}")
    assert (whole.registry, whole.repository, whole.tag, whole.digest) == ("r.test:5000", "team/app", "1", digest)
    assert whole.object == digest and str(whole) == f"r.test:5000/team/app:1@{digest}"
    assert str(parse("app")) == "docker.io/library/app:latest" and parse("app").object == "latest"


async def test_an_image_is_built_found_tagged_and_removed(tmp_path: Path) -> None:
    store, here = MemoryStore(), Platform.here()
    (tmp_path / "file").write_text("x")
    config = oci.ImageConfig(command=("/a",), ports=("80/tcp",), labels={"b": "1"})
    image = await oci.build(store, tmp_path, "r.test/app:1", config, platform=here)
    again = await oci.build(store, tmp_path, "r.test/app:2", config, platform=here)
    assert image.target == again.target and len(store.content) == 3 and not store.ingests
    found = await listing.picture(store, image, here)
    assert found.configuration is not None and not found.problem
    assert found.configuration.document["config"]["ExposedPorts"] == {"80/tcp": {}}
    # As the CRI does: names by id and by digest beside the given one.
    for alias in (found.id, f"r.test/app@{image.target.digest}"):
        store.named[alias] = image.__class__(alias, image.target)
    assert [one.name for one in listing.shown(await store.images())] == ["r.test/app:1", "r.test/app:2"]
    assert len(listing.shown(await store.images(), everything=True)) == 4
    for name in (found.id[7:15], found.id, image.target.digest[:20], "r.test/app:1"):
        assert (await listing.find(store, name)).name == "r.test/app:1"
    with pytest.raises(NoSuchImage, match="kontinuum image list"):
        await listing.find(store, "nothing")
    with pytest.raises(BadReference):
        await listing.tag(store, image, "NOT A NAME")
    assert await listing.remove(store, store.named["r.test/app:2"]) == ["r.test/app:2"]
    assert len(await listing.remove(store, store.named["r.test/app:1"])) == 3
    assert not store.named and not store.content


async def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = MemoryStore()
    (tmp_path / "a").write_bytes(os.urandom(3_000_000))
    (tmp_path / "z").mkdir()
    (tmp_path / "z/.wh.x").touch()
    with pytest.raises(BadLayer):
        await oci.build(store, tmp_path, "r.test/app:1", oci.ImageConfig(), platform=Platform.here())
    assert not store.named and not store.content and not store.ingests


def test_gzip_says_neither_name_nor_time() -> None:
    compressor = gzip_compressor()
    assert (compressor.compress(b"x") + compressor.flush())[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\x03"
