"""What every way to say who one is looks like from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from multidict import CIMultiDictProxy

from kontinuum.apiserver.authn.users import User
from kontinuum.foundation.errors import Refused


@dataclass(frozen=True, slots=True)
class Remarks:
    """What is to be said of a credential: warnings to who shows it, annotations to the audit log."""

    warnings: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)


class BadCredential(Refused):
    """A credential was shown and is not good. The message is for a TokenReview and the log, never for the client."""

    def __init__(self, message: str, remarks: Remarks | None = None) -> None:
        super().__init__(message)
        self.remarks = remarks


class Connection(Protocol):
    def get_extra_info(self, name: str, default: Any = None) -> Any: ...


class Request(Protocol):
    """What is looked at, and where it is noted what there is to say; ours have it."""

    remarks: Remarks | None
    is_local: bool
    """It came by the socket for this machine's own parts."""

    @property
    def transport(self) -> Connection | None: ...

    @property
    def headers(self) -> CIMultiDictProxy[str]: ...


class RequestAuthenticator(Protocol):
    """Looks at the whole request: certificates, headers of a front proxy."""

    async def authenticate(self, request: Request) -> User | None:
        """None if the request shows nothing of the sort. Raises BadCredential."""
        ...


Audiences = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TokenUser:
    """Whose token it is, and which of the audiences that were asked for it is meant for."""

    user: User
    audiences: Audiences
    remarks: Remarks | None = None


class TokenAuthenticator(Protocol):
    """Knows one sort of bearer token."""

    async def authenticate(self, token: str, audiences: Audiences) -> TokenUser | None:
        """``audiences`` are those for which the token must be good: one of them is enough.

        None if the token is of another sort. Raises BadCredential.
        """
        ...


def both(asked: Sequence[str], meant: Sequence[str]) -> Audiences:
    """The audiences in both, in the order of ``asked``."""
    return tuple(one for one in asked if one in meant)
