"""Tar archives of our own making, unpacked as they are."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any


def unpack_trusted(archive: tarfile.TarFile, target: Path) -> None:
    """Everything in the open ``archive``, below the directory ``target``: links, owners and modes as they are written.

    Never for an archive that somebody else made: nothing holds it to ``target``. Raises tarfile.TarError, OSError.
    """
    # Debian 12's Python (3.11.2) knows no filters yet; later ones insist on being told.
    told: dict[str, Any] = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
    archive.extractall(target, **told)
