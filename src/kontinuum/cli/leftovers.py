"""What an installation leaves outside its directories, by the names that carry its eight hex digits."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from kontinuum.cli.installation import Installation
from kontinuum.foundation import process
from kontinuum.node.settings import NodeSettings

CGROUPS = Path("/sys/fs/cgroup")


def remove(paths: Installation) -> None:
    """Remove the pods' bridge and the pods' cgroups; what is not there is passed over."""
    node = NodeSettings(data_dir=str(paths.data))
    if (Path("/sys/class/net") / node.bridge_name).exists():
        asyncio.run(process.run("ip", "link", "delete", node.bridge_name, timeout=10))
    for hierarchy in [CGROUPS, *CGROUPS.iterdir()]:
        remove_cgroup(hierarchy / node.cgroup.lstrip("/"))


def remove_cgroup(directory: Path) -> None:
    """Remove an empty tree of cgroups, leaves first. A cgroup that still holds processes stays."""
    if not directory.is_dir():
        return
    for inner, _, _ in os.walk(directory, topdown=False):
        try:
            Path(inner).rmdir()
        except OSError:
            return  # Busy: somebody lives there, and everything above is busy too.
