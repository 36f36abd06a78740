"""containerd's image store, in the namespace that the CRI reads: archives into it, and images out as directories."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from kontinuum.foundation import process

CRI_NAMESPACE = "k8s.io"
PINNED = "io.cri-containerd.pinned"
"""Label of an image (``pinned``) that no collection removes; containerd 1.7 and later tell the CRI so themselves."""


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
    """Import each ``(reference, archive)`` whose reference containerd does not have yet, to stay."""
    have = await present(socket)
    for reference, archive in archives:
        if reference not in have:
            await import_archive(socket, archive)
            await process.run(*_ctr(socket), "images", "label", reference, f"{PINNED}=pinned", timeout=30)


async def mount(socket: Path, reference: str, target: Path) -> None:
    """Show the files of an image, read-only, in the directory ``target``, until ``unmount``.

    It is mounted in the mount namespace of the caller, which must be containerd's. Raises process.ProgramFailed.
    """
    await _forget_view(socket, target)
    await process.run(*_ctr(socket), "images", "mount", reference, target, timeout=120)


async def unmount(socket: Path, target: Path) -> None:
    """End what ``mount`` began; harmless where nothing is mounted. Raises process.ProgramFailed."""
    await process.run(*_ctr(socket), "images", "unmount", target, timeout=30)
    await _forget_view(socket, target)


async def _forget_view(socket: Path, target: Path) -> None:
    """Remove the snapshot that containerd keeps for a mount; it is named after its directory."""
    try:
        await process.run(*_ctr(socket), "snapshots", "remove", target, timeout=30)
    except process.ProgramFailed as error:
        if "not found" not in error.stderr and "does not exist" not in error.stderr:
            raise


def _ctr(socket: Path) -> list[str]:
    return ["ctr", "--address", str(socket), "--namespace", CRI_NAMESPACE]
