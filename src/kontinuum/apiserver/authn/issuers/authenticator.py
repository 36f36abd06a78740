"""One issuer's tokens: is this one of them, still good, and meant for us? Then who is it?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import ClientSession

from kontinuum.apiserver.authn.issuers.configuration import JwtIssuer
from kontinuum.apiserver.authn.issuers.keysets import KeySet, NoKeys
from kontinuum.apiserver.authn.issuers.mapping import UserMapping
from kontinuum.apiserver.authn.port import Audiences, BadCredential, TokenUser, both
from kontinuum.foundation import jwt
from kontinuum.foundation.clock import Clock

LEEWAY_SECONDS = 300.0
"""By how much an issuer's clock may be ahead of ours (go-oidc's rule for ``nbf``)."""


class IssuerTokens:
    """``api_audiences`` are this server's own: a token of the issuer stands for all of them."""

    def __init__(
        self, configured: JwtIssuer, session: Callable[[], ClientSession], clock: Clock, *, api_audiences: Audiences
    ) -> None:
        self._issuer = configured.issuer
        self._keys = KeySet(configured.issuer, session, clock)
        self._mapping = UserMapping(configured)
        self._clock = clock
        self._api_audiences = api_audiences

    async def authenticate(self, token: str, audiences: Audiences) -> TokenUser | None:
        try:
            _, unverified = jwt.unverified(token)
        except jwt.BadToken:
            return None
        if unverified.get("iss") != self._issuer.url:
            return None
        agreed = both(audiences, self._api_audiences)
        if audiences and not agreed:
            return None
        try:
            claims = await self._keys.verify(token)
        except NoKeys as error:
            problem = f'oidc: authenticator for issuer "{self._issuer.url}" is not initialized: {error}'
            raise BadCredential(problem) from error
        except jwt.BadToken as error:
            raise BadCredential(f"oidc: verify token: {error}") from error
        self._check_audience(claims.get("aud"))
        self._check_times(claims)
        return TokenUser(self._mapping.user_of(claims), agreed)

    def _check_audience(self, meant: Any) -> None:
        listed = [meant] if isinstance(meant, str) else meant if isinstance(meant, list) else []
        if not set(self._issuer.audiences).intersection(one for one in listed if isinstance(one, str)):
            wanted, got = (" ".join(f'"{one}"' for one in some) for some in (self._issuer.audiences, listed))
            raise BadCredential(f"oidc: verify token: oidc: expected audience in [{wanted}] got [{got}]")

    def _check_times(self, claims: jwt.Claims) -> None:
        now = self._clock.time()
        expires, not_before = claims.get("exp"), claims.get("nbf", 0)
        if not isinstance(expires, int | float) or expires < now:
            raise BadCredential(f"oidc: verify token: oidc: token is expired (Token Expiry: {expires})")
        if not isinstance(not_before, int | float) or now + LEEWAY_SECONDS < not_before:
            problem = f"current time {now:.0f} before the nbf (not before) time: {not_before}"
            raise BadCredential(f"oidc: verify token: oidc: {problem}")
