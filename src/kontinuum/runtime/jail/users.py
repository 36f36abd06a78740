"""A user of its own for each machine, out of a range that belongs to nobody else on this host.

A claim is a symbolic link, named after the user and leading to the directory of whoever has it. It is made in one step,
and it needs nobody to give it back: when the directory is gone, which whoever takes a sandbox apart sees to after its
processes have ended, the link leads nowhere and the user is free.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

from kontinuum.foundation.errors import Retryable


class NoUserLeft(Retryable):
    """Every user of the range has a machine; the message says which setting gives more."""


class Users:
    """The users ``numbers``, claimed below ``directory``."""

    def __init__(self, directory: Path, numbers: range) -> None:
        self._directory = directory
        self._numbers = numbers

    @property
    def directory(self) -> Path:
        """Where the claims are. Made if it is not there."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._directory

    def claim(self, owner: Path) -> int:
        """A user for what lives in the directory ``owner``. Raises NoUserLeft."""
        place = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(place, fcntl.LOCK_EX)
            taken = self._taken()
            # Begun at a number that is the owner's, so that users are not handed from pod to pod in quick succession,
            # and hosts that share a machine hardly ever meet.
            start = int.from_bytes(hashlib.sha256(str(owner).encode()).digest()[:8], "big")
            for step in range(len(self._numbers)):
                user = self._numbers[(start + step) % len(self._numbers)]
                if user not in taken:
                    (self._directory / str(user)).symlink_to(owner)
                    return user
        finally:
            os.close(place)
        raise NoUserLeft(f"all {len(self._numbers)} users of machines are taken; raise runtime.machine_users")

    def release(self, user: int) -> None:
        """Nothing runs as ``user`` any more. Idempotent."""
        (self._directory / str(user)).unlink(missing_ok=True)

    def _taken(self) -> set[int]:
        """Whoever is claimed; claims whose owners are gone are forgotten meanwhile."""
        taken = set()
        for claim in self._directory.iterdir():
            # Follows the link: to be there means that its owner is.
            if claim.exists():
                taken.add(int(claim.name))
            else:
                claim.unlink(missing_ok=True)
        return taken
