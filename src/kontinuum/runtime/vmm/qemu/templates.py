"""Templates: machines that were booted once, stopped when their agent was ready, and kept as two files.

    DIRECTORY/KEY/memory   the guest's memory, mapped by every clone (copy on write), so that it is shared
    DIRECTORY/KEY/state    the devices' state, some tens of kilobytes
    DIRECTORY/wanted/MEMORY-CPUS   somebody had to boot cold for want of a template of this size

KEY is a digest of everything that state depends on; a template of another kernel, agent or QEMU is simply never found.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kontinuum.runtime.vmm.qemu.arguments import Hardware


@dataclass(frozen=True, slots=True)
class Template:
    """A finished template; both files exist."""

    directory: Path

    @property
    def memory(self) -> Path:
        return self.directory / "memory"

    @property
    def state(self) -> Path:
        return self.directory / "state"


class Templates:
    """The templates below one directory, made of one guest and one QEMU."""

    def __init__(self, directory: Path, *, guest_version: str, qemu_version: str) -> None:
        self._directory = directory
        self._origin = f"{guest_version} {qemu_version}"

    def find(self, hardware: Hardware) -> Template | None:
        """The template for this hardware, or None."""
        directory = self._place(hardware)
        return Template(directory) if directory.exists() else None

    @contextlib.contextmanager
    def making(self, hardware: Hardware) -> Iterator[Template]:
        """A place to make a template in, which becomes findable when the block ends well. One maker at a time.

        Blocks while another process makes the same one; check ``find`` again inside.
        """
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        place = self._place(hardware)
        unfinished = place.with_suffix(".partial")
        lock = os.open(place.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(mode=0o700)
            try:
                yield Template(unfinished)
                if not place.exists():
                    unfinished.rename(place)
                (self._directory / "wanted" / _size(hardware)).unlink(missing_ok=True)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        finally:
            os.close(lock)

    def discard(self, template: Template) -> None:
        """Forget a template that turned out to be damaged. Machines that were cloned from it live on."""
        shutil.rmtree(template.directory, ignore_errors=True)

    def want(self, hardware: Hardware) -> None:
        """Leave word that a template of this size would have been useful."""
        wanted = self._directory / "wanted"
        wanted.mkdir(parents=True, exist_ok=True, mode=0o700)
        (wanted / _size(hardware)).touch()

    def wanted(self) -> list[tuple[int, int]]:
        """(memory in bytes, CPUs) of every size that somebody wanted and nobody has made yet."""
        directory = self._directory / "wanted"
        names = sorted(entry.name for entry in directory.iterdir()) if directory.exists() else []
        return [(int(memory) << 20, int(cpus)) for memory, _, cpus in (name.partition("-") for name in names)]

    def _place(self, hardware: Hardware) -> Path:
        text = f"{self._origin} {hardware.accelerator} {_size(hardware)}"
        return self._directory / hashlib.sha256(text.encode()).hexdigest()[:16]


def _size(hardware: Hardware) -> str:
    return f"{hardware.memory_bytes >> 20}-{hardware.cpus}"
