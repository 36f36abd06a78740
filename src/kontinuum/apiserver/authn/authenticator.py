"""Every way to say who one is, tried in order: the certificate, then the bearer token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from kontinuum.api.machinery.status import unauthorized
from kontinuum.apiserver.authn.certificates import user_of_certificate
from kontinuum.apiserver.authn.tokens import TokenFile
from kontinuum.apiserver.authn.users import User


class Connection(Protocol):
    def get_extra_info(self, name: str, default: Any = None) -> Any: ...


class Request(Protocol):
    """What is looked at; aiohttp's requests have it."""

    @property
    def transport(self) -> Connection | None: ...

    @property
    def headers(self) -> Mapping[str, str]: ...


class Authenticator:
    """``tokens`` is None where no token file is configured."""

    def __init__(self, tokens: TokenFile | None = None) -> None:
        self._tokens = tokens

    def __call__(self, request: Request) -> User:
        """Raises ApiError 401: no credential, or one that nobody here knows."""
        certificate = request.transport.get_extra_info("peercert") if request.transport is not None else None
        user = user_of_certificate(certificate) or self._user_of_token(request.headers)
        if user is None:
            raise unauthorized()
        return user

    def _user_of_token(self, headers: Mapping[str, str]) -> User | None:
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if self._tokens is None or scheme.lower() != "bearer" or not token.strip():
            return None
        return self._tokens.user_of(token.strip())
