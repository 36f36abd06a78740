"""An issuer's public keys: found through its discovery document, kept, and fetched anew when they are not enough.

no keys yet, or older than an hour ──┐
a token that none of them verifies ──┴─▶ fetch, but not again within some seconds: anybody can write such tokens
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import orjson
import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout

from kontinuum.apiserver import bounded
from kontinuum.apiserver.authn.issuers.configuration import Issuer
from kontinuum.foundation import jwt
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Retryable

log = structlog.get_logger(__name__)

WELL_KNOWN = "/.well-known/openid-configuration"
FETCH_SECONDS = 10.0
FRESH_SECONDS = 3600.0
"""Keys that the issuer has taken back are believed for at most this long."""
AGAIN_SECONDS = 5.0
LARGEST_ANSWER = 1024 * 1024


class NoKeys(Retryable):
    """The issuer's keys cannot be had now."""


class KeySet:
    """``session`` is asked for at each fetch, since it belongs to somebody else. Raises ValueError for a bad bundle."""

    def __init__(self, issuer: Issuer, session: Callable[[], ClientSession], clock: Clock) -> None:
        self._issuer = issuer
        self._session = session
        self._clock = clock
        self._tls = ssl.create_default_context(cadata=issuer.certificate_authority or None)
        self._keys: list[jwt.VerifyingKey] = []
        self._tried = float("-inf")
        self._fetched = float("-inf")
        self._fetching = asyncio.Lock()
        self._problem = ""

    async def verify(self, token: str) -> jwt.Claims:
        """The claims that the issuer has signed. Raises BadToken, NoKeys."""
        if self._clock.monotonic() - self._fetched > FRESH_SECONDS:
            await self._refresh()
        if not self._keys:
            raise NoKeys(self._problem or "no keys")
        try:
            return jwt.verify(token, self._keys)
        except jwt.BadToken:
            if not await self._refresh():
                raise
        return jwt.verify(token, self._keys)

    async def _refresh(self) -> bool:
        """Whether there are new keys. Many who ask at once cause one fetch."""
        before = self._fetched
        async with self._fetching:
            if self._fetched > before:
                return True
            now = self._clock.monotonic()
            if now - self._tried < AGAIN_SECONDS:
                return False
            self._tried = now
            try:
                self._keys = await self._fetch()
            except NoKeys as error:
                self._problem = str(error)
                log.warning("an issuer's keys cannot be had", issuer=self._issuer.url, reason=self._problem)
                return False
            self._fetched = now
            return True

    async def _fetch(self) -> list[jwt.VerifyingKey]:
        described = await self._get(self._issuer.discovery_url or self._issuer.url.rstrip("/") + WELL_KNOWN)
        told = described.get("issuer")
        if told != self._issuer.url:
            wanted = f'expected "{self._issuer.url}" got "{told}"'
            raise NoKeys(
                f"oidc: issuer URL provided to client did not match the issuer URL returned by provider, {wanted}"
            )
        place = described.get("jwks_uri")
        # Whoever can change the keys on their way can be anybody.
        if not isinstance(place, str) or not place.startswith("https://"):
            raise NoKeys("oidc: the provider's jwks_uri is no https URL")
        try:
            return jwt.from_jwks(await self._get(place))
        except jwt.BadToken as error:
            raise NoKeys(f"{place}: {error}") from error

    async def _get(self, url: str) -> dict[str, Any]:
        try:
            async with self._session().get(
                url, ssl=self._tls, timeout=ClientTimeout(total=FETCH_SECONDS), allow_redirects=False
            ) as answer:
                if answer.status != 200:
                    raise NoKeys(f"{url}: {answer.status} {answer.reason}")
                content = await bounded.read(answer.content, LARGEST_ANSWER)
        except TimeoutError:
            raise NoKeys(f'Get "{url}": context deadline exceeded') from None
        except (ClientError, OSError, ValueError, bounded.TooLong) as error:
            raise NoKeys(f'Get "{url}": {error}') from error
        try:
            found = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise NoKeys(f"{url}: {error}") from error
        if not isinstance(found, dict):
            raise NoKeys(f"{url}: expected a JSON object")
        return found
