"""Of which size a machine should wait: of the one that the last two pods asked for.

Pods of one workload ask for the same, one after the other. That two must agree keeps a host on which pods of two sizes
come in turns from making machines only to end them.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from kontinuum.foundation.files import replace_file
from kontinuum.runtime.vmm.port import Size


class _Asked(msgspec.Struct, frozen=True):
    """What is known of the pods that have come."""

    last: Size | None = None
    wanted: Size | None = None


def note(path: Path, size: Size) -> None:
    """A pod asks for a machine of this size. Pods that come together may overlook each other: it is a guess anyway.

    Never in a pod's way: what cannot be written is not.
    """
    before = _read(path)
    after = _Asked(size, size if size == before.last else before.wanted)
    if after != before:
        with suppress(OSError):
            replace_file(path, msgspec.json.encode(after), mode=0o600)


def wanted(path: Path) -> Size | None:
    """What the last two pods that agreed have asked for."""
    return _read(path).wanted


def forget(path: Path) -> None:
    """Machines may come in other sizes now. Raises OSError."""
    path.unlink(missing_ok=True)


def _read(path: Path) -> _Asked:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Asked)
    except (OSError, msgspec.MsgspecError):
        return _Asked()
