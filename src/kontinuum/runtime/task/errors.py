"""Why a call to the task service fails, and which gRPC code tells containerd so.

containerd acts on some of the codes: NotFound means "already gone" to it, which ends its retries. It hands them on to
the kubelet too, to which Unavailable means that containerd itself is away: nothing that we cannot do is ever that.
"""

from __future__ import annotations

from kontinuum.foundation.errors import KontinuumError, Refused
from kontinuum.runtime.ttrpc import CallFailed

UNKNOWN, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS = 2, 3, 5, 6
FAILED_PRECONDITION, UNIMPLEMENTED = 9, 12


class NoSuchProcess(Refused):
    """No container or exec of that name, or it has ended already."""


class AlreadyThere(Refused):
    """The name is taken."""


class WrongState(Refused):
    """The process is not in a state in which this can be done (delete while running, start twice)."""


class NoSuchVerb(Refused):
    """The service has no such method."""


_CODES: tuple[tuple[type[KontinuumError], int], ...] = (
    (NoSuchProcess, NOT_FOUND),
    (AlreadyThere, ALREADY_EXISTS),
    (WrongState, FAILED_PRECONDITION),
    (NoSuchVerb, UNIMPLEMENTED),
)


def as_call_failed(error: KontinuumError) -> CallFailed:
    """``error`` as an answer on the wire."""
    code = next((code for kind, code in _CODES if isinstance(error, kind)), UNKNOWN)
    return CallFailed(code, str(error))
