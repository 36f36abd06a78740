"""The issuers of a file, and who is anonymous: the file may change, and a new one that can be used holds at once."""

from __future__ import annotations

from pathlib import Path

import structlog
from aiohttp import ClientSession

from kontinuum.apiserver.authn.issuers.authenticator import IssuerTokens
from kontinuum.apiserver.authn.issuers.configuration import (
    Anonymous,
    AuthenticationConfiguration,
    BadConfiguration,
    parse,
    read,
)
from kontinuum.apiserver.authn.issuers.validation import validate
from kontinuum.apiserver.authn.port import Audiences, BadCredential, TokenAuthenticator, TokenUser
from kontinuum.apiserver.authn.remembering import RememberingTokens
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.sessions import LateSession

log = structlog.get_logger(__name__)

CHECK_SECONDS = 10.0
REMEMBER_SECONDS = 10.0
"""How long a verified token is not verified again (Kubernetes' own cache)."""


class ConfiguredIssuers:
    """All issuers of one file. ``anonymous``: what it says of those who show no credential, None if nothing.

    ``disallowed``: issuers that are the cluster's own. Raises BadConfiguration, naming the file.
    """

    def __init__(self, path: Path, clock: Clock, *, api_audiences: Audiences, disallowed: tuple[str, ...]) -> None:
        self._path = path
        self._clock = clock
        self._api_audiences = api_audiences
        self._disallowed = disallowed
        self._session = LateSession(ClientSession)
        self._text = ""
        self._issuers: list[TokenAuthenticator] = []
        self.anonymous: Anonymous | None = None
        self._load()

    async def authenticate(self, token: str, audiences: Audiences) -> TokenUser | None:
        problems = []
        for issuer in self._issuers:
            try:
                found = await issuer.authenticate(token, audiences)
            except BadCredential as error:
                problems.append(str(error))
                continue
            if found is not None:
                return found
        if problems:
            raise BadCredential(", ".join(problems))
        return None

    async def run(self) -> None:
        """Look at the file now and then. Ends only by cancellation."""
        while True:
            await self._clock.sleep(CHECK_SECONDS)
            self.look_again()

    def look_again(self) -> bool:
        """Take up what has changed; True if something has. A file that cannot be used changes nothing."""
        before = self._text
        try:
            configuration = self._load()
        except BadConfiguration as error:
            log.error("the authentication configuration cannot be used; the one before stays", reason=str(error))
            return False
        if self._text == before:
            return False
        log.info("the authentication configuration has changed", issuers=len(configuration.jwt))
        return True

    async def close(self) -> None:
        await self._session.close()

    def _load(self) -> AuthenticationConfiguration:
        try:
            text = read(self._path)
            configuration = parse(text)
            errors = validate(configuration, disallowed=self._disallowed)
            if errors:
                raise BadConfiguration("; ".join(str(one) for one in errors))
            if text != self._text:
                self._issuers = [self._remembered(IssuerTokens(
                    one, self._session.opened, self._clock, api_audiences=self._api_audiences
                )) for one in configuration.jwt]  # fmt: skip
                self.anonymous = configuration.anonymous
                self._text = text
        except BadConfiguration as error:
            raise BadConfiguration(f"{self._path}: {error}") from error
        return configuration

    def _remembered(self, issuer: IssuerTokens) -> TokenAuthenticator:
        return RememberingTokens(issuer, self._clock, good_seconds=REMEMBER_SECONDS)
