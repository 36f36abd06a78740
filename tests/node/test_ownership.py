"""Whose a volume's files are when a pod has an ``fsGroup``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kontinuum.node.volumes import ownership

OURS = os.getgid()
"""Tests need not be root: the group is their own, and what is looked at are the rights."""


def a_volume(tmp_path: Path) -> Path:
    top = tmp_path / "volume"
    (top / "inside").mkdir(parents=True)
    (top / "inside" / "file").write_text("theirs")
    (top / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "outside").write_text("not of the volume")
    for path, mode in ((top, 0o700), (top / "inside", 0o700), (top / "inside" / "file", 0o600)):
        path.chmod(mode)
    (tmp_path / "outside").chmod(0o600)
    return top


def rights(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.mark.parametrize("only_on_mismatch", [False, True])
def test_everything_in_the_volume_is_given_and_nothing_outside(tmp_path: Path, only_on_mismatch: bool) -> None:
    top = a_volume(tmp_path)
    ownership.give(top, OURS, only_on_mismatch=only_on_mismatch)
    assert [rights(top), rights(top / "inside"), rights(top / "inside" / "file")] == [0o2770, 0o2770, 0o660]
    assert rights(tmp_path / "outside") == 0o600
    assert ownership.is_given(top, OURS) and not ownership.is_given(top, OURS + 1)


def test_what_is_right_at_the_top_is_left_alone_only_if_the_policy_says_so(tmp_path: Path) -> None:
    top = a_volume(tmp_path)
    top.chmod(0o2770)
    ownership.give(top, OURS, only_on_mismatch=True)
    assert rights(top / "inside" / "file") == 0o600
    ownership.give(top, OURS, only_on_mismatch=False)
    assert rights(top / "inside" / "file") == 0o660
