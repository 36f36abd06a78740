"""A user of its own for each machine, out of a range that belongs to nobody else on this host.

A claim is a symbolic link, named after the user and leading to the directory of whoever has it. It is made in one step,
and it needs nobody to give it back: when the directory is gone, which whoever takes a sandbox apart sees to after its
processes have ended, the link leads nowhere and the user is free.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
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
        with self._alone():
            taken = self._taken()
            # Begun at a number that is the owner's, so that users are not handed from pod to pod in quick succession,
            # and hosts that share a machine hardly ever meet.
            start = int.from_bytes(hashlib.sha256(str(owner).encode()).digest()[:8], "big")
            for step in range(len(self._numbers)):
                user = self._numbers[(start + step) % len(self._numbers)]
                if user not in taken:
                    (self._directory / str(user)).symlink_to(owner)
                    return user
        raise NoUserLeft(f"all {len(self._numbers)} users of machines are taken; raise runtime.machine_users")

    def move(self, owner: Path, to: Path) -> bool:
        """Rename the directory ``owner``, and let its claims lead there. False if it is not there (any more).

        A second claim is made first, so that whoever dies in here leaves at least one that leads to the owner.
        """
        with self._alone():
            claims = [claim for claim in self._directory.iterdir() if claim.readlink() == owner]
            for claim in claims:
                _other(claim).unlink(missing_ok=True)
                _other(claim).symlink_to(to)
            try:
                owner.rename(to)
            except FileNotFoundError:
                return False
            for claim in claims:
                claim.unlink()
            return True

    def release(self, user: int) -> None:
        """Nothing runs as ``user`` any more. Idempotent."""
        claim = self._directory / str(user)
        for one in (claim, _other(claim)):
            one.unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        place = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(place, fcntl.LOCK_EX)
            yield
        finally:
            os.close(place)

    def _taken(self) -> set[int]:
        """Whoever is claimed; claims whose owners are gone are forgotten meanwhile."""
        taken = set()
        for claim in self._directory.iterdir():
            # Follows the link: to be there means that its owner is.
            if claim.exists():
                taken.add(int(claim.stem))
            else:
                claim.unlink(missing_ok=True)
        return taken


def _other(claim: Path) -> Path:
    """A claim has two names in turn, so that it can lead to two places for a moment."""
    return claim.with_suffix("" if claim.suffix else ".moved")
