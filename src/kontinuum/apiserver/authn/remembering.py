"""Answers about tokens, remembered for a short while: a client shows the same token with every request."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass

from kontinuum.apiserver.authn.port import Audiences, TokenAuthenticator, TokenUser
from kontinuum.foundation.clock import Clock

REMEMBERED = 16_384
Key = tuple[bytes, Audiences]


@dataclass(frozen=True, slots=True)
class _Answer:
    found: TokenUser | None
    until: float
    """Monotonic seconds."""


class RememberingTokens:
    """Asks ``behind`` at most once in ``good_seconds`` about a token that is good, in ``bad_seconds`` about another.

    What goes wrong (BadCredential) is never remembered. Many who show the same token at once are one question.
    """

    def __init__(
        self, behind: TokenAuthenticator, clock: Clock, *, good_seconds: float, bad_seconds: float = 0.0
    ) -> None:
        self._behind = behind
        self._clock = clock
        self._good, self._bad = good_seconds, bad_seconds
        self._answers: dict[Key, _Answer] = {}
        self._asking: dict[Key, asyncio.Task[TokenUser | None]] = {}

    async def authenticate(self, token: str, audiences: Audiences) -> TokenUser | None:
        key = (hashlib.sha256(token.encode()).digest(), audiences)
        answer = self._answers.get(key)
        if answer is not None and self._clock.monotonic() < answer.until:
            return answer.found
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.create_task(self._ask(key, token, audiences))
            asking.add_done_callback(lambda done: self._finish(key, done))
        # Whoever gives up waiting takes the answer from nobody else.
        return await asyncio.shield(asking)

    def _finish(self, key: Key, done: asyncio.Task[TokenUser | None]) -> None:
        self._asking.pop(key, None)
        if not done.cancelled():
            done.exception()  # If nobody waits any more, nobody has to be told.

    async def _ask(self, key: Key, token: str, audiences: Audiences) -> TokenUser | None:
        found = await self._behind.authenticate(token, audiences)
        seconds = self._bad if found is None else self._good
        if seconds > 0:
            if len(self._answers) >= REMEMBERED:
                self._answers.clear()
            self._answers[key] = _Answer(found, self._clock.monotonic() + seconds)
        else:
            self._answers.pop(key, None)
        return found
