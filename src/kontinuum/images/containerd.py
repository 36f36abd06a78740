"""OCI archives into containerd's image store, in the namespace that the CRI reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from kontinuum.foundation import process

CRI_NAMESPACE = "k8s.io"


async def present(socket: Path) -> frozenset[str]:
    """The references of all images that containerd at ``socket`` has."""
    listing = await process.run(*_ctr(socket), "images", "list", "--quiet", timeout=30)
    return frozenset(listing.text.split())


async def import_archive(socket: Path, archive: Path) -> None:
    """Import one OCI archive; its images keep the names the archive gives them. Importing twice is harmless.

    Raises process.ProgramFailed with containerd's own words, e.g. for a blob whose digest does not match.
    """
    await process.run(*_ctr(socket), "images", "import", archive, timeout=600)


async def import_missing(socket: Path, archives: Iterable[tuple[str, Path]]) -> None:
    """Import each ``(reference, archive)`` whose reference containerd does not have yet."""
    have = await present(socket)
    for reference, archive in archives:
        if reference not in have:
            await import_archive(socket, archive)


def _ctr(socket: Path) -> list[str]:
    return ["ctr", "--address", str(socket), "--namespace", CRI_NAMESPACE]
