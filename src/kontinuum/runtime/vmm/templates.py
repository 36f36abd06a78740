"""Templates: machines that were booted once, stopped when their agent was ready, and kept as files.

    DIRECTORY/KEY/memory   the guest's memory, mapped by every clone (copy on write), so that it is shared
    DIRECTORY/KEY/state    the devices' state, some tens of kilobytes
    DIRECTORY/KEY/layer    the disk that the machine had mounted, if its VMM's machines are born with one
    DIRECTORY/KEY/seal     what these were when they were finished; a template that is not that any more is not used
    DIRECTORY/wanted/MEMORY-CPUS   somebody had to boot cold for want of a template of this size
    DIRECTORY/discarded/KEY        a template was damaged, and how that was seen; for whoever tells people

KEY is a digest of everything that state depends on; a template of another kernel, agent or VMM is simply never found.
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
from typing import Protocol

import msgspec
import structlog

from kontinuum.foundation import sparse
from kontinuum.foundation.files import replace_file

log = structlog.get_logger(__name__)


class Hardware(Protocol):
    """What a template and its clones must have in common."""

    @property
    def memory_bytes(self) -> int: ...

    @property
    def cpus(self) -> int: ...

    @property
    def kind(self) -> str:
        """All that a saved state depends on, as one text: it fits no machine of another kind."""
        ...


class _Seal(msgspec.Struct, frozen=True):
    marks: tuple[tuple[int, int, int], ...]
    """Inode, length in bytes and time of the last change of each file."""
    digest: str


@dataclass(frozen=True, slots=True)
class Template:
    """A template's files."""

    directory: Path

    @property
    def memory(self) -> Path:
        return self.directory / "memory"

    @property
    def state(self) -> Path:
        return self.directory / "state"

    def seal(self) -> None:
        """It is finished: from here on every clone may read it, whoever its VMM runs as, and nobody may write it."""
        for path in self._files:
            os.chown(path, 0, 0)
            path.chmod(0o444)
        self._seal.write_bytes(msgspec.json.encode(_Seal(self._marks(), self._digest())))

    def is_untouched(self) -> bool:
        """Whether nobody has written to it since; some microseconds. What does not show in a file's times, such as a
        flipped bit, only ``is_sound`` sees."""
        try:
            return self._read_seal().marks == self._marks()
        except (OSError, msgspec.MsgspecError):
            return False

    def is_sound(self) -> bool:
        """Whether every byte is what it was; a fifth of a second or so."""
        try:
            return self.is_untouched() and self._read_seal().digest == self._digest()
        except (OSError, msgspec.MsgspecError):
            return False

    @property
    def layer(self) -> Path:
        """The disk as the guest in ``memory`` has left it; made with them, or never."""
        return self.directory / "layer"

    @property
    def _files(self) -> list[Path]:
        return [self.memory, self.state, *([self.layer] if self.layer.exists() else [])]

    @property
    def _seal(self) -> Path:
        return self.directory / "seal"

    def _read_seal(self) -> _Seal:
        return msgspec.json.decode(self._seal.read_bytes(), type=_Seal)

    def _marks(self) -> tuple[tuple[int, int, int], ...]:
        stats = (path.stat() for path in self._files)
        return tuple((one.st_ino, one.st_size, one.st_mtime_ns) for one in stats)

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for path in (self.memory, self.state):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        if self.layer.exists():
            digest.update(_digest_of_data(self.layer))
        return digest.hexdigest()


class Templates:
    """The templates below one directory, made of one guest and one VMM."""

    def __init__(self, directory: Path, *, guest_version: str, vmm_version: str) -> None:
        self._directory = directory
        self._origin = f"{guest_version} {vmm_version}"

    def find(self, hardware: Hardware) -> Template | None:
        """The template for this hardware, or None. One that somebody has tampered with is discarded."""
        template = Template(self._place(hardware))
        if not template.directory.exists():
            return None
        if not template.is_untouched():
            self.discard(template, reason="its files are not what they were when it was finished")
            return None
        return template

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

    def discard(self, template: Template, *, reason: str) -> None:
        """Forget a template that turned out to be damaged. Machines that were cloned from it live on."""
        log.error(
            "a template is discarded; pods boot cold until it is made again", why=reason, of=template.directory.name
        )
        shutil.rmtree(template.directory, ignore_errors=True)
        discarded = self._directory / "discarded"
        discarded.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_file(discarded / template.directory.name, reason)

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
        text = f"{self._origin} {hardware.kind}"
        return self._directory / hashlib.sha256(text.encode()).hexdigest()[:16]


def _digest_of_data(path: Path) -> bytes:
    """Of a file that is nearly nothing but a hole."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        for start, end in sparse.pieces(file.fileno(), path.stat().st_size):
            digest.update(b"%d %d\n" % (start, end))
            digest.update(os.pread(file.fileno(), end - start, start))
    return digest.digest()


def _size(hardware: Hardware) -> str:
    return f"{hardware.memory_bytes >> 20}-{hardware.cpus}"
