"""Root file systems from the distribution's own packages, without a container registry and without installing anything.

Packages are downloaded by apt and unpacked, not configured: their maintainer scripts do not run. That suits programs
that need files only (a web server, a shell); a package that needs its scripts wants a full ``mmdebstrap`` instead.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from kontinuum.foundation import process


async def download(packages: Sequence[str], *, into: Path) -> list[Path]:
    """Fetch ``packages`` (names as apt knows them) as ``.deb`` files; answers their paths.

    Raises process.ProgramFailed if apt does not know a package or cannot reach its mirror.
    """
    into.mkdir(parents=True, exist_ok=True)
    # As apt's own unprivileged user it could not write into the directory; it would warn on every file.
    await process.run("apt-get", "-o", "APT::Sandbox::User=root", "download", *packages, cwd=into, timeout=600)
    return sorted(into.glob("*.deb"))


async def unpack(archives: Sequence[Path], *, root: Path) -> None:
    """Lay the packages' files down under ``root``."""
    root.mkdir(parents=True, exist_ok=True)
    for archive in archives:
        await process.run("dpkg-deb", "--extract", archive, root, timeout=300)


async def root_file_system(packages: Sequence[str], *, root: Path) -> None:
    """A new tree under ``root`` with the files of ``packages`` (exactly those: name the libraries too)."""
    with tempfile.TemporaryDirectory(prefix="kontinuum-debs-") as temporary:
        await unpack(await download(packages, into=Path(temporary)), root=root)
