"""Root file systems from the distribution's own packages, without a container registry and without installing anything.

Packages are downloaded by apt and unpacked, not configured: their maintainer scripts do not run. That suits programs
that need files only (a web server, a shell); a package that needs its scripts wants a full ``mmdebstrap`` instead.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kontinuum.foundation import process

MERGED = ("bin", "sbin", "lib", "lib64")
"""Links into /usr on every Debian since 12. Which of the two places a package names differs from release to release."""


async def download(packages: Sequence[str], *, into: Path) -> list[Path]:
    """Fetch ``packages`` (names as apt knows them) as ``.deb`` files; answers their paths.

    Raises process.ProgramFailed if apt does not know a package or cannot reach its mirror.
    """
    into.mkdir(parents=True, exist_ok=True)
    # As apt's own unprivileged user it could not write into the directory; it would warn on every file.
    await process.run("apt-get", "-o", "APT::Sandbox::User=root", "download", *packages, cwd=into, timeout=600)
    return sorted(into.glob("*.deb"))


async def unpack(archives: Sequence[Path], *, root: Path) -> None:
    """Lay the packages' files down under ``root``, where ``/lib`` and its like are links into ``/usr``."""
    for name in MERGED:
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        if not (root / name).is_symlink():
            (root / name).symlink_to(f"usr/{name}")
    for archive in archives:
        files = await process.run("dpkg-deb", "--fsys-tarfile", archive, timeout=300)
        # What dpkg-deb unpacks itself puts a directory in the place of a link.
        unpacking = ("tar", "--extract", "--preserve-permissions", "--keep-directory-symlink", "--directory", root)
        await process.run(*unpacking, stdin=files.stdout, timeout=300)


@dataclass(frozen=True, slots=True)
class Package:
    """What apt says of a package, as far as we ask."""

    name: str
    section: str
    needs: tuple[str, ...]
    """Names of packages; of alternatives the first."""


def described(text: str) -> list[Package]:
    """The packages in what ``apt-cache show`` printed."""
    packages = []
    for stanza in text.split("\n\n"):
        lines = [line.partition(": ") for line in stanza.splitlines() if not line.startswith(" ")]
        fields = {name: value for name, _, value in lines}
        needs = (need.split() for name in ("Pre-Depends", "Depends") for need in fields.get(name, "").split(","))
        first = tuple(words[0].partition(":")[0] for words in needs if words)
        packages.append(Package(name=fields["Package"], section=fields["Section"], needs=first))
    return packages


async def with_libraries(packages: Sequence[str]) -> list[str]:
    """``packages`` and all libraries that they need, under the names that this release has for them.

    Raises process.ProgramFailed if apt does not know a package.
    """
    chosen = list(packages)
    asked = _needed(await describe(chosen), beside=chosen)
    while asked:
        libraries = [package for package in await describe(asked) if package.section == "libs"]
        chosen += [library.name for library in libraries]
        asked = _needed(libraries, beside=chosen)
    return chosen


async def describe(packages: Sequence[str]) -> list[Package]:
    """Raises process.ProgramFailed if apt does not know a package."""
    return described((await process.run("apt-cache", "show", "--no-all-versions", *packages, timeout=60)).text)


def _needed(packages: Iterable[Package], *, beside: Sequence[str]) -> list[str]:
    return sorted({need for package in packages for need in package.needs}.difference(beside))


async def root_file_system(packages: Sequence[str], *, root: Path) -> None:
    """A new tree under ``root`` with the files of ``packages`` and of the libraries that they need, and no others."""
    with tempfile.TemporaryDirectory(prefix="kontinuum-debs-") as temporary:
        await unpack(await download(await with_libraries(packages), into=Path(temporary)), root=root)
