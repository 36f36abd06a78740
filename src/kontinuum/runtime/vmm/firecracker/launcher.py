"""Starting a Firecracker: in our jail, as QEMU is, and not by its own ``jailer``.

The jailer makes a directory tree on the host's disk for each machine, to be cleaned up by whoever outlives it. Ours is
made of mounts that vanish with the process; it also shows a clone its template at the place where the template had it.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from kontinuum.foundation import process, sockets
from kontinuum.runtime import taps
from kontinuum.runtime.jail import view
from kontinuum.runtime.jail.confine import Jail
from kontinuum.runtime.vmm.firecracker import documents
from kontinuum.runtime.vmm.firecracker.machine import Launched, View
from kontinuum.runtime.vmm.port import VmmMissing
from kontinuum.runtime.vmm.templates import Template


@dataclass(frozen=True, slots=True)
class Wish:
    """What kind of start it is."""

    directory: Path
    """The machine's."""
    template: Template | None = None
    saving: bool = False
    """The template is being made, not used."""


class Launcher(Protocol):
    def launch(self, wish: Wish, *, output: int, locks: int, undo: ExitStack) -> Launched:
        """Start a Firecracker that writes to ``output`` and keeps ``locks`` (both descriptors) open.

        What must be done when its process is gone is left in ``undo``. Raises VmmMissing, NoUserLeft, OSError.
        """
        ...


@dataclass(frozen=True, slots=True)
class JailedLauncher:
    """Confines the ``firecracker`` of this host."""

    jail: Jail
    program: Path
    guest: Path
    """The directory with vmlinux and initramfs.cpio."""

    def launch(self, wish: Wish, *, output: int, locks: int, undo: ExitStack) -> Launched:
        user = self.jail.users.claim(wish.directory)
        undo.callback(self.jail.users.release, user)
        files = documents.Files(
            program=self.program,
            kernel=self.guest / "vmlinux",
            initramfs=self.guest / "initramfs.cpio",
        )
        template = None
        if wish.template is not None:
            template = (wish.template.memory, wish.template.state)
            for path in template if wish.saving else ():
                path.touch(mode=0o600)
                os.chown(path, user, user)
        tap = taps.name_apart(owner=user)
        undo.callback(tap.close)
        try:
            seen = documents.shown(files, network=tap.namespace, template=template, saving=wish.saving)
            words = documents.command(id=wish.directory.name)
            child = self.jail.spawn(*words, user=user, shown=seen, output=output, pass_fds=(tap.namespace, locks))
        except process.ProgramMissing as error:
            raise VmmMissing(f"{self.jail.program} is not on this host; make it with: make assets") from error
        return Launched(child, _view_of(child.pid, user), user, tap)


def _view_of(pid: int, user: int) -> View:
    """Of a child that has not been waited for, so that its number is its own."""

    def cover(target: str, file: int, read_only: bool) -> None:
        view.cover(pid, target, file, read_only=read_only)

    def open_socket(path: str) -> int:
        return sockets.open_socket_of(user, Path(f"/proc/{pid}/root{path}"))

    return View(cover=cover, uncover=partial(view.uncover, pid), open_socket=open_socket)
