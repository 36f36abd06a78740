"""What an error of gRPC or etcd means to a caller of the store.

etcd says what is wrong by a code of gRPC and a fixed sentence. The one distinction that matters beyond the port's own:
can a write that failed like this still have happened, or happen yet?
"""

from __future__ import annotations

import grpc

from kontinuum.foundation.errors import Broken, KontinuumError
from kontinuum.store.port import FutureRevision, StoreFull, StoreUnavailable, ValueTooLarge

Code = grpc.StatusCode


class Unanswered(StoreUnavailable):
    """No answer came. A write may have happened, and may happen yet."""


class Unsent(Unanswered):
    """The member did not take the request; nothing has happened and nothing will."""


class LoggedOut(StoreUnavailable):
    """The token is no longer valid."""


class HistoryGone(StoreUnavailable):
    """etcd has compacted the revision; whoever knows which one was asked for makes Compacted of it."""


class AccessDenied(Broken):
    """etcd knows us and does not let us do this, or does not let us in."""


NOT_TAKEN = ("etcdserver: no leader", "etcdserver: too many requests", "etcdserver: not capable", "failed to connect")
LOGGED_OUT = ("etcdserver: invalid auth token", "etcdserver: revision of auth store is old")
HARMLESS = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED, Code.UNKNOWN, Code.INTERNAL, Code.ABORTED)


def explain(doing: str, member: str, error: grpc.aio.AioRpcError) -> KontinuumError:
    """The error for a caller who was ``doing`` something at ``member``."""
    code, said = error.code(), error.details() or ""
    words = f"{doing}: etcd at {member} {_in_words(code, said)}"
    if "has been compacted" in said:
        return HistoryGone(words)
    if "future revision" in said:
        return FutureRevision(words)
    if "database space exceeded" in said:
        return StoreFull(
            f"{words}; nothing was changed. Compact and defragment etcd (etcdctl defrag), raise --quota-backend-bytes"
            " if need be, then: etcdctl alarm disarm"
        )
    if "request is too large" in said or (code == Code.RESOURCE_EXHAUSTED and "larger than max" in said):
        return ValueTooLarge(f"{words}; etcd's limit is --max-request-bytes (1.5 MiB unless raised)")
    if code == Code.UNAUTHENTICATED or said in LOGGED_OUT:
        return LoggedOut(words)
    if code in (Code.PERMISSION_DENIED, Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION, Code.UNIMPLEMENTED):
        return AccessDenied(words)
    if any(one in said for one in NOT_TAKEN):
        return Unsent(words)
    return Unanswered(words)


def _in_words(code: grpc.StatusCode, said: str) -> str:
    if code == Code.DEADLINE_EXCEEDED:
        return "did not answer in time (slow, stopped or cut off)"
    if code == Code.UNAVAILABLE and not said.startswith("etcdserver:"):
        return f"cannot be reached ({said})"
    return f"says: {said or code.name}"
