"""Every way to say who one is, in Kubernetes' order; the first that is good decides.

    part's token ─▶ front proxy ─▶ client certificate ─▶ bearer token ─▶ nobody (anonymous, where that is allowed)
    (on the socket)                                        │
                                                           └─▶ token file, service accounts, bootstrap, OIDC, webhook

A credential that was shown and that nobody finds good is 401, also where no credential would have been needed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence

import structlog

from kontinuum.api.machinery.status import unauthorized
from kontinuum.apiserver.authn.port import (
    Audiences,
    BadCredential,
    Request,
    RequestAuthenticator,
    TokenAuthenticator,
    TokenUser,
)
from kontinuum.apiserver.authn.users import NOBODY, User

log = structlog.get_logger(__name__)

INVALID_TOKEN = "invalid bearer token"
WEBSOCKET_TOKEN = "base64url.bearer.authorization.k8s.io."
"""Browsers cannot set headers on a WebSocket, so the token comes as one of its subprotocols."""


class Tokens:
    """All sorts of bearer tokens together. ``audiences`` are this server's own, the first one its issuer."""

    def __init__(self, authenticators: Sequence[TokenAuthenticator], audiences: Audiences = ()) -> None:
        self._authenticators = tuple(authenticators)
        self.audiences = audiences

    async def authenticate(self, token: str, audiences: Audiences | None = None) -> TokenUser:
        """Whose token it is, for one of ``audiences`` (None: this server's). Raises BadCredential."""
        wanted = self.audiences if audiences is None else audiences
        problems, remarks = [], None
        for authenticator in self._authenticators:
            try:
                found = await authenticator.authenticate(token, wanted)
            except BadCredential as error:
                problems.append(str(error))
                remarks = remarks or error.remarks
                continue
            if found is not None:
                return found
        raise BadCredential(f"[{', '.join([INVALID_TOKEN, *problems])}]" if problems else INVALID_TOKEN, remarks)


class Authenticator:
    """``anonymous_paths`` answers those that nobody in particular may ask for now; None means all of them."""

    def __init__(
        self,
        tokens: Tokens,
        by_request: Sequence[RequestAuthenticator] = (),
        *,
        anonymous_paths: Callable[[], frozenset[str] | None] = frozenset,
    ) -> None:
        self.tokens = tokens
        self._by_request = tuple(by_request)
        self._anonymous_paths = anonymous_paths

    async def __call__(self, request: Request, path: str) -> User:
        """Raises ApiError 401."""
        problems = []
        for authenticator in self._by_request:
            try:
                user = await authenticator.authenticate(request)
            except BadCredential as error:
                problems.append(str(error))
                continue
            if user is not None:
                return user
        token = bearer_token(request)
        if token:
            try:
                found = await self.tokens.authenticate(token)
            except BadCredential as error:
                request.remarks = error.remarks
                problems.append(str(error))
            else:
                request.remarks = found.remarks
                return found.user
        if problems:
            log.info("a credential is refused", problems=problems, path=path)
            raise unauthorized()
        open_to_all = self._anonymous_paths()
        if open_to_all is None or path in open_to_all:
            return NOBODY
        raise unauthorized()


def bearer_token(request: Request) -> str:
    """The token that a request shows, "" if it shows none."""
    headers = request.headers
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if headers.get("Upgrade", "").lower() != "websocket":
        return ""
    for protocol in headers.get("Sec-WebSocket-Protocol", "").split(","):
        name = protocol.strip()
        if name.startswith(WEBSOCKET_TOKEN):
            encoded = name.removeprefix(WEBSOCKET_TOKEN)
            try:
                return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
            except (binascii.Error, UnicodeDecodeError):
                # Nobody's token, but a credential all the same.
                return encoded
    return ""
