"""What a confined program sees, and how it is started: the words for ``jail.c``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kontinuum.foundation import process
from kontinuum.runtime.jail.users import Users

PROGRAM = "kontinuum-jail"
READ_ONLY_LIBRARY = "readonly.so"
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
"""Where a dynamically linked program finds what it is linked with; nothing secret lies there on any distribution."""

Kind = Literal["read", "run", "write", "device", "own", "blank", "network", "link", "set"]


@dataclass(frozen=True, slots=True)
class Shown:
    """One thing that the program sees; ``kind`` is as ``jail.c`` has it."""

    kind: Kind
    source: str
    target: str

    @classmethod
    def same(cls, kind: Kind, path: Path | str) -> Shown:
        """At the path that it has on the host."""
        return cls(kind, str(path), str(path))


def libraries() -> tuple[Shown, ...]:
    """The places of ``LIBRARIES`` that this host has, links as links."""
    present = [Path(path) for path in LIBRARIES if Path(path).exists()]
    return tuple(
        Shown("link", str(path.readlink()), str(path)) if path.is_symlink() else Shown.same("run", path)
        for path in present
    )


def command(
    *, jail: Path, user: int, root: Path, parent: int, shown: tuple[Shown, ...], program: list[str]
) -> list[str]:
    """The command line of ``jail.c``. ``parent`` is a pidfd that the jail inherits."""
    words = [str(jail), str(user), str(root), str(parent)]
    for one in shown:
        words += (one.kind, one.source, one.target)
    return [*words, "--", *program]


@dataclass(frozen=True, slots=True)
class Jail:
    """How this host confines."""

    program: Path
    """The compiled ``jail.c``."""
    users: Users

    def spawn(
        self, *program: str, user: int, shown: tuple[Shown, ...], output: int, pass_fds: tuple[int, ...] = ()
    ) -> process.Child:
        """Start ``program`` confined, as ``user``, with nothing open but ``output`` and ``pass_fds``.

        It is killed when the calling thread ends, whichever way. Raises process.ProgramMissing.
        """
        parent = os.pidfd_open(os.getpid())
        try:
            words = command(
                jail=self.program,
                user=user,
                root=self.users.directory,
                parent=parent,
                shown=shown,
                program=list(program),
            )
            return process.spawn(*words, stdout=output, stderr=output, pass_fds=(parent, *pass_fds), own_processes=True)
        finally:
            os.close(parent)
