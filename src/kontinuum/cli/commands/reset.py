"""``kontinuum reset``: down, and then nothing of the installation is left."""

from __future__ import annotations

from pathlib import Path

import typer

from kontinuum.cli import leftovers
from kontinuum.cli.commands.down import down
from kontinuum.cli.installation import Installation
from kontinuum.foundation.errors import Refused


class NotConfirmed(Refused):
    """The operator did not say yes."""


class NotOurs(Refused):
    """The directory holds something, but not an installation."""


def reset(*, data_dir: Path, yes: bool) -> None:
    """See the module. Raises NotConfirmed, NotOurs."""
    paths = Installation.at(data_dir)
    if paths.data.exists() and any(paths.data.iterdir()) and not paths.pki.exists():
        raise NotOurs(f"{paths.data}: this is not a data directory of Kontinuum (it has no pki/); nothing is removed")
    if not yes and not typer.confirm(f"Remove {paths.data} with every object, image and log in it?", default=False):
        raise NotConfirmed("nothing was removed")
    down(data_dir=data_dir)
    leftovers.remove(paths)
    for directory in (paths.data, paths.run, paths.templates):
        leftovers.remove_directory(directory)
    print(f"{paths.data} is {'empty' if paths.data.exists() else 'removed'}.")
