"""The exit codes of ``kontinuum``, for scripts; documented in docs/how-to/commands.md."""

from __future__ import annotations

import enum

from kontinuum.foundation.errors import Broken, KontinuumError, Refused


class Exit(enum.IntEnum):
    """What became of a command."""

    OK = 0
    """Done, or there was nothing to do."""
    FAILED = 1
    """It did not work this time; the same command may work later."""
    REFUSED = 2
    """The command or a setting is wrong; repeating it cannot help."""
    NOT_RUNNING = 3
    """No platform runs with this data directory."""
    BROKEN = 4
    """This machine cannot do it as it is; ``kontinuum doctor`` says what to change."""


class NotRunning(Refused):
    """No platform runs with this data directory."""


def code_of(error: KontinuumError) -> Exit:
    """The exit code that tells a script what to do about ``error``."""
    if isinstance(error, NotRunning):
        return Exit.NOT_RUNNING
    if isinstance(error, Refused):
        return Exit.REFUSED
    if isinstance(error, Broken):
        return Exit.BROKEN
    return Exit.FAILED
