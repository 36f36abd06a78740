"""Tokens that somebody else knows: a TokenReview is posted to a webhook (Kubernetes' ``token/webhook``).

{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "...", "audiences": ["..."]}}
   ◀── {..., "status": {"authenticated": true, "user": {"username": "jane", "groups": ["dev"]}, "audiences": ["..."]}}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout

from kontinuum.apiserver import bounded
from kontinuum.apiserver.authn.port import Audiences, BadCredential, TokenUser, both
from kontinuum.apiserver.authn.users import authenticated
from kontinuum.client.kubeconfig import Connection
from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.sessions import LateSession

SECONDS = 30.0
"""Of one try."""
TRIES = 5
AGAIN = Backoff(initial=0.5, maximum=5.0, factor=1.5, jitter=0.2)
BUSY = frozenset({429, 500, 502, 503, 504})
LARGEST_ANSWER = 1024 * 1024


class _User(msgspec.Struct):
    username: str = ""
    uid: str = ""
    groups: list[str] | None = None
    extra: dict[str, list[str] | None] | None = None


class _Status(msgspec.Struct):
    authenticated: bool = False
    user: _User = msgspec.field(default_factory=_User)
    audiences: list[str] | None = None
    error: str = ""


class _Review(msgspec.Struct):
    status: _Status


_decode = msgspec.json.Decoder(_Review).decode


class WebhookTokens:
    """``connection`` says where, and as whom; ``api_audiences`` are this server's own."""

    def __init__(self, connection: Connection, clock: Clock, *, api_audiences: Audiences) -> None:
        self._connection = connection
        self._clock = clock
        self._api_audiences = api_audiences
        self._tls = connection.tls_context()
        self._session = LateSession(lambda: ClientSession(timeout=ClientTimeout(total=SECONDS)))

    async def authenticate(self, token: str, audiences: Audiences) -> TokenUser | None:
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        if audiences:
            review["spec"] = {"token": token, "audiences": list(audiences)}
        status = await self._ask(review)
        if status.authenticated and status.user.username:
            return _user_of(status, audiences, self._api_audiences)
        if status.error:
            raise BadCredential(status.error)
        return None

    async def close(self) -> None:
        await self._session.close()

    async def _ask(self, review: dict[str, Any]) -> _Status:
        body, problem = orjson.dumps(review), ""
        for attempt in range(TRIES):
            if attempt:
                await self._clock.sleep(AGAIN.delay(attempt - 1))
            try:
                code, content = await self._post(body)
            except (ClientError, OSError, TimeoutError, bounded.TooLong) as error:
                problem = str(error) or type(error).__name__
                continue
            if code in (200, 201):
                return _read(content)
            problem = f"{code} {content[:200].decode(errors='replace')}"
            if code not in BUSY:
                break
        raise BadCredential(f"asking the token webhook: {problem}")

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if bearer := self._bearer():
            headers["Authorization"] = f"Bearer {bearer}"
        async with self._session.opened().post(
            self._connection.server, data=body, headers=headers, ssl=self._tls, allow_redirects=False
        ) as answer:
            return answer.status, await bounded.read(answer.content, LARGEST_ANSWER)

    def _bearer(self) -> str:
        if self._connection.token_file:
            return Path(self._connection.token_file).read_text().strip()
        return self._connection.token


def _read(content: bytes) -> _Status:
    try:
        return _decode(content).status
    except msgspec.MsgspecError as error:
        raise BadCredential(f"the token webhook's answer is no TokenReview: {error}") from error


def _user_of(status: _Status, audiences: Audiences, api_audiences: Audiences) -> TokenUser | None:
    """A webhook that says nothing of audiences means this server's."""
    agreed = both(audiences, status.audiences or api_audiences)
    if audiences and not agreed:
        return None
    user = status.user
    extra = {key.lower(): tuple(values or ()) for key, values in (user.extra or {}).items()}
    return TokenUser(authenticated(user.username, user.groups or [], user.uid, extra), agreed)
