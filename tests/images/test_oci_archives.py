"""An OCI archive holds what its directory held, under true digests, and the same bytes for the same content."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from kontinuum.images.oci import ImageConfig, build_archive


@pytest.fixture
def root(tmp_path: Path) -> Path:
    tree = tmp_path / "root"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/program").write_bytes(b"#!/bin/true\n")
    (tree / "bin/program").chmod(0o755)
    (tree / "bin/alias").symlink_to("program")
    return tree


def blobs_of(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        found = {}
        for member in tar.getmembers():
            file = tar.extractfile(member)
            if file is not None:
                found[member.name] = file.read()
        return found


def blob(blobs: dict[str, bytes], digest: str) -> bytes:
    return blobs["blobs/sha256/" + digest.removeprefix("sha256:")]


def test_every_blob_lies_under_its_own_digest(tmp_path: Path, root: Path) -> None:
    build_archive(tmp_path / "image.tar", reference="localhost/x:1", root=root, config=ImageConfig())
    stored = {name: body for name, body in blobs_of(tmp_path / "image.tar").items() if name.startswith("blobs/")}
    assert len(stored) == 3
    for name, body in stored.items():
        assert name == f"blobs/sha256/{hashlib.sha256(body).hexdigest()}"


def test_the_layer_holds_the_tree_and_the_config_knows_its_uncompressed_digest(tmp_path: Path, root: Path) -> None:
    config = ImageConfig(command=("/bin/program",), stop_signal="SIGQUIT")
    digest = build_archive(tmp_path / "image.tar", reference="localhost/x:1", root=root, config=config)
    blobs = blobs_of(tmp_path / "image.tar")
    manifest = json.loads(blob(blobs, digest))
    layer = gzip.decompress(blob(blobs, manifest["layers"][0]["digest"]))
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        assert {member.name for member in tar.getmembers()} == {"bin", "bin/program", "bin/alias"}
        assert tar.getmember("bin/program").mode == 0o755
        assert tar.getmember("bin/alias").linkname == "program"
    stored = json.loads(blob(blobs, manifest["config"]["digest"]))
    assert stored["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(layer).hexdigest()]
    assert stored["config"] == {
        "Cmd": ["/bin/program"],
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "WorkingDir": "/",
        "StopSignal": "SIGQUIT",
    }


def test_the_index_names_the_image_for_containerd(tmp_path: Path, root: Path) -> None:
    build_archive(tmp_path / "image.tar", reference="localhost/x:1", root=root, config=ImageConfig())
    index = json.loads(blobs_of(tmp_path / "image.tar")["index.json"])
    assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == "localhost/x:1"


def test_the_same_content_makes_the_same_digest_whenever_it_was_written(tmp_path: Path, root: Path) -> None:
    first = build_archive(tmp_path / "1.tar", reference="localhost/x:1", root=root, config=ImageConfig())
    (root / "bin/program").touch()
    assert build_archive(tmp_path / "2.tar", reference="localhost/x:1", root=root, config=ImageConfig()) == first
    (root / "bin/program").write_bytes(b"#!/bin/false\n")
    assert build_archive(tmp_path / "3.tar", reference="localhost/x:1", root=root, config=ImageConfig()) != first
