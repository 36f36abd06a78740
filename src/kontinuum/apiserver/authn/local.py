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
        self._shown: dict[str, User] = {}
        """Good ones that have been shown: each part shows its own with every request, and digests take their time."""

    async def authenticate(self, request: Request) -> User | None:
        if not request.is_local:
            return None
        token = bearer_token(request)
        user = self._shown.get(token)
        if user is None and (user := self._tokens.user_of(token)) is not None:
            self._shown[token] = user
        return user
