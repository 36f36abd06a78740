"""A volume's image as a block device of this machine: how large its kernel says that it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kontinuum.node.volumes import loop, provisioned

pytestmark = pytest.mark.machine
SMALL, LARGE = 1 << 20, 3 << 20


def test_a_device_that_did_not_see_what_its_image_has_grown_by_sees_it_later(tmp_path: Path) -> None:
    place = tmp_path / "v"
    image = provisioned.have_block(place, SMALL)
    device = provisioned.show_block(place, tmp_path / "link")
    try:
        assert provisioned.has_size(place, SMALL)
        provisioned.lengthen(place, LARGE)
        assert image.stat().st_size == SMALL, "the device has it: nobody else enlarges it"
        os.truncate(image, LARGE)
        assert not provisioned.has_size(place, LARGE)
        provisioned.grow_block(place, LARGE)
        assert loop.sectors(device) * loop.SECTOR_BYTES == LARGE
        assert provisioned.has_size(place, LARGE)
        with device.open("rb") as opened:
            assert opened.seek(0, os.SEEK_END) == LARGE
    finally:
        loop.detach(device)
