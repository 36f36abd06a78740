"""An emptyDir of a pod with a kernel of its own is a disk: as large as is allowed, empty, counted, and its pod's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from kontinuum.foundation import process
from kontinuum.node.volumes import scratch
from kontinuum.node.volumes.scratch import JOURNAL_BYTES, LEAST_BYTES, Scratch, size_for

MIB = 1 << 20


def a_pod(**limits: str) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "main", "resources": {"limits": limits}}]}}


@pytest.mark.parametrize(
    ("limits", "source", "size"),
    [
        ({}, {}, 1024 * MIB),
        ({}, {"sizeLimit": "0"}, 1024 * MIB),
        ({}, {"sizeLimit": "1Mi"}, LEAST_BYTES),
        ({}, {"sizeLimit": "100Mi"}, 256 * MIB),
        ({"ephemeral-storage": "100M"}, {}, 256 * MIB),
        ({"ephemeral-storage": "10Gi"}, {"sizeLimit": "33Mi"}, 128 * MIB),
        ({"memory": "1Gi"}, {}, 1024 * MIB),
    ],
)
def test_who_writes_more_than_is_allowed_has_room_to_be_evicted_for_it(
    limits: dict[str, str], source: dict[str, str], size: int
) -> None:
    assert size_for(a_pod(**limits), source, usual_bytes=1000 * MIB) == size


@pytest.mark.parametrize("spans", [(), ((0, 4096),), ((8192, 100), (MIB, 4096), (3 * MIB - 1, 1))])
def test_a_copy_has_the_same_bytes_and_the_same_holes(tmp_path: Path, spans: tuple[tuple[int, int], ...]) -> None:
    with (tmp_path / "template").open("wb") as file:
        file.truncate(4 * MIB)
        for start, length in spans:
            file.seek(start)
            file.write(os.urandom(length))
    scratch.copy(tmp_path / "template", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "template").read_bytes()
    assert scratch.allocated(tmp_path / "copy") <= scratch.allocated(tmp_path / "template") < MIB
    assert {one.name for one in tmp_path.iterdir()} == {"template", "copy"}


async def test_it_is_empty_for_everybody_counted_and_stays_when_it_is_asked_for_again(tmp_path: Path) -> None:
    place = tmp_path / "volumes" / "cache"
    found = Scratch(tmp_path / "templates", usual_bytes=LEAST_BYTES)
    assert scratch.taken(place) is None
    await found.prepare(a_pod(), {}, place, 2000)
    image = scratch.image_of(place)
    described = json.loads((tmp_path / "volumes" / "cache.disk").read_text())
    assert (described["image"], described["fileSystem"], described["group"]) == (str(image), "ext4", 2000)
    assert list(place.iterdir()) == []
    listing = (await process.run("debugfs", "-R", "ls -l /", image, timeout=60)).stdout.decode()
    assert [line.split()[1] for line in listing.splitlines() if line.strip()] == ["40777", "40777"]
    empty = scratch.taken(place)
    # The host may note where the pieces are in a block more.
    assert empty is not None and empty.bytes < 64 * 1024
    missing = scratch.when_empty(image) - scratch.allocated(image)
    assert missing in (0, JOURNAL_BYTES)
    with image.open("r+b") as file:
        file.seek(32 * MIB)
        file.write(os.urandom(6 * MIB))
        os.fsync(file.fileno())
    counted = scratch.taken(place)
    assert counted is not None and 6 * MIB <= counted.bytes + missing <= 6 * MIB + 64 * 1024
    before = image.read_bytes()
    await found.prepare(a_pod(), {}, place, 2000)
    assert image.read_bytes() == before


async def test_pods_that_begin_at_once_share_a_template_and_nothing_else(tmp_path: Path) -> None:
    found = Scratch(tmp_path / "templates", usual_bytes=LEAST_BYTES)
    places = [tmp_path / f"pod{number}" / "cache" for number in range(3)]
    for place in places:
        await found.prepare(a_pod(), {}, place, None)
    assert len(list((tmp_path / "templates").iterdir())) == 1
    assert len({scratch.image_of(place).stat().st_ino for place in places}) == 3
    assert "group" not in json.loads(places[0].with_name("cache.disk").read_text())
