"""Variables from a file that an earlier container of the pod has written into an emptyDir (``fileKeyRef``, KEP-3721).

# a comment
ADDRESS='10.0.0.1'
GREETING='values are in single quotes,
and may have several lines'
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from kontinuum.foundation.errors import Refused

LARGEST = 1 << 20
"""Bytes of a file that are looked at: its writer is not to be trusted with the agent's memory."""
SPACE = re.compile(r"\s*(?:#[^\n]*(?:\n|$)\s*)*")
VARIABLE = re.compile(r"([^\s=#][^=\n]*)='([^']*)'[^\S\n]*(?:#[^\n]*)?(?:\n|$)")


class BadEnvFile(Refused):
    """The file cannot be read, or not understood; the message says where."""


def parse(text: str) -> dict[str, str]:
    """The variables in ``text``; of one that is there twice, the last. Raises BadEnvFile."""
    values: dict[str, str] = {}
    position = _after_space(text, 0)
    while position < len(text):
        found = VARIABLE.match(text, position)
        if found is None:
            line = text.count("\n", 0, position) + 1
            raise BadEnvFile(f"line {line} is not of the form NAME='value'")
        values[found[1]] = found[2]
        position = _after_space(text, found.end())
    return values


def _after_space(text: str, position: int) -> int:
    found = SPACE.match(text, position)
    return found.end() if found else position


def read(volume: Path, path: str) -> dict[str, str] | None:
    """The variables of the file at ``path`` in ``volume``; None if it is not there. Raises BadEnvFile.

    Its links are not followed: whoever writes into the volume could lead the agent anywhere.
    """
    held = os.open(volume, os.O_PATH | os.O_DIRECTORY)
    try:
        *folders, name = Path(path).parts
        for folder in folders:
            held = _closing(held, os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=held))
        held = _closing(held, os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=held))
        if not stat.S_ISREG(os.fstat(held).st_mode):
            raise BadEnvFile(f"{path} is not a plain file")
        with os.fdopen(os.dup(held), "rb") as stream:
            content = stream.read(LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadEnvFile(f"{path} cannot be read: {error.strerror}") from error
    finally:
        os.close(held)
    if len(content) > LARGEST:
        raise BadEnvFile(f"{path} is larger than {LARGEST} bytes")
    try:
        return parse(content.decode())
    except (UnicodeDecodeError, BadEnvFile) as error:
        raise BadEnvFile(f"{path}: {error}") from error


def _closing(old: int, new: int) -> int:
    os.close(old)
    return new
