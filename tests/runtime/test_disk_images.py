"""A root file system becomes one image, built once, cached by what its layers are and not by where they lie."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kontinuum.runtime import disks
from kontinuum.runtime.messages import Mount
from kontinuum.runtime.vmm.port import DISK_BYTES

pytestmark = pytest.mark.skipif(shutil.which("mkfs.erofs") is None, reason="mkfs.erofs is not installed")


def layer(directory: Path, **files: str) -> Path:
    directory.mkdir(parents=True)
    for name, text in files.items():
        (directory / name).write_text(text)
    return directory


def overlay(*layers: Path) -> tuple[Mount, ...]:
    options = (f"lowerdir={':'.join(map(str, layers))}", "upperdir=/nowhere/upper", "workdir=/nowhere/work")
    return (Mount(type="overlay", source="overlay", options=options),)


def listing(image: Path) -> str:
    return subprocess.run(["dump.erofs", "--ls", "--path=/", str(image)], capture_output=True, text=True).stdout


async def test_a_single_layer_becomes_an_image_of_the_size_every_disk_has(tmp_path: Path) -> None:
    only = layer(tmp_path / "1", hello="world")
    image = await disks.image_for((Mount(type="bind", source=str(only)),), cache=tmp_path / "cache")
    assert image.stat().st_size == DISK_BYTES
    assert image.stat().st_blocks * 512 < 1 << 20, "the padding must cost no space"
    assert " hello" in listing(image)


async def test_many_callers_get_the_image_that_one_of_them_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = (Mount(type="bind", source=str(layer(tmp_path / "1", hello="world"))),)
    built: list[Path] = []
    build = disks._build

    async def counting(layers: list[Path], image: Path) -> None:
        built.append(image)
        await build(layers, image)

    monkeypatch.setattr(disks, "_build", counting)
    images = await asyncio.gather(*(disks.image_for(mounts, cache=tmp_path / "cache") for _ in range(8)))
    assert len(set(images)) == 1
    assert len(built) == 1


async def test_another_layer_at_the_same_path_is_another_image(tmp_path: Path) -> None:
    mounts = (
        Mount(
            type="bind",
            source=str(layer(tmp_path / "1", old="")),
        ),
    )
    first = await disks.image_for(mounts, cache=tmp_path / "cache")
    shutil.rmtree(tmp_path / "1")
    layer(tmp_path / "1", new="")
    second = await disks.image_for(mounts, cache=tmp_path / "cache")
    assert first != second
    assert " new" in listing(second)


async def test_images_are_forgotten_with_their_layers(tmp_path: Path) -> None:
    kept = (Mount(type="bind", source=str(layer(tmp_path / "kept", a=""))),)
    gone = (Mount(type="bind", source=str(layer(tmp_path / "gone", a=""))),)
    kept_image = await disks.image_for(kept, cache=tmp_path / "cache")
    gone_image = await disks.image_for(gone, cache=tmp_path / "cache")
    shutil.rmtree(tmp_path / "gone")
    assert disks.forget_unused(tmp_path / "cache") == [gone_image]
    assert kept_image.exists() and not gone_image.exists()


async def test_mounts_that_no_image_can_be_made_of_are_named(tmp_path: Path) -> None:
    with pytest.raises(disks.RootfsRefused, match="type zfs"):
        await disks.image_for((Mount(type="zfs", source="pool"),), cache=tmp_path)


@pytest.mark.machine
async def test_upper_layers_cover_lower_ones(tmp_path: Path) -> None:
    lower = layer(tmp_path / "1", a="old and longer", b="b")
    upper = layer(tmp_path / "2", a="new")
    os.mknod(upper / "b", 0o020000, os.makedev(0, 0))  # a whiteout
    image = await disks.image_for(overlay(upper, lower), cache=tmp_path / "cache")
    shown = subprocess.run(["dump.erofs", "--path=/a", str(image)], capture_output=True, text=True).stdout
    assert "Size: 3 " in shown
    assert " b\n" not in listing(image)
