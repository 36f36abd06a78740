"""What an installation leaves outside its directories, by the names that carry its eight hex digits."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from kontinuum.cli.installation import Installation
from kontinuum.node import network
from kontinuum.node.settings import NodeSettings

CGROUPS = Path("/sys/fs/cgroup")


def remove(paths: Installation) -> None:
    """Remove the node's interface, pods' cgroups and the rules for their traffic; what is not there is passed over."""
    asyncio.run(network.remove(NodeSettings(data_dir=str(paths.data))))
    remove_cgroups(paths)


def remove_cgroups(paths: Installation) -> bool:
    """Remove the cgroups in which pods ran, in every hierarchy. Those that still hold processes stay.

    Returns whether none stays.
    """
    parent = NodeSettings(data_dir=str(paths.data)).cgroup.lstrip("/")
    directories = [hierarchy / parent for hierarchy in [CGROUPS, *CGROUPS.iterdir()]]
    for directory in directories:
        remove_cgroup(directory)
    return not any(directory.is_dir() for directory in directories)


def remove_cgroup(directory: Path) -> None:
    """Remove an empty tree of cgroups, leaves first. A cgroup that still holds processes stays."""
    if not directory.is_dir():
        return
    for inner, _, _ in os.walk(directory, topdown=False):
        try:
            Path(inner).rmdir()
        except OSError:
            return  # Busy: somebody lives there, and everything above is busy too.
