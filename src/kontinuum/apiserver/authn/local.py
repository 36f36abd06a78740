"""The tokens of this machine's own parts: good on the server's socket, and at no other address."""

from __future__ import annotations

from kontinuum.apiserver.authn.authenticator import bearer_token
from kontinuum.apiserver.authn.port import Request
from kontinuum.apiserver.authn.tokens import TokenFile
from kontinuum.apiserver.authn.users import User


class LocalTokens:
    """See the module. Other tokens are for others to look at: who may open the socket is somebody only by a token."""

    def __init__(self, tokens: TokenFile) -> None:
        self._tokens = tokens

    async def authenticate(self, request: Request) -> User | None:
        return self._tokens.user_of(bearer_token(request)) if request.is_local else None
