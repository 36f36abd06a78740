"""Service account tokens for the pods of this node: asked for in the node's name, bound to the pod, renewed in time.

A token is renewed when four fifths of its life are over, and after a day at the latest. While the API cannot be asked,
the old one goes on being shown as long as it is good.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from kontinuum.api.kubernetes.resources import SERVICEACCOUNTS
from kontinuum.api.machinery.objects import Object, name_of, namespace_of, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import Clock, parse_rfc3339
from kontinuum.foundation.errors import Retryable

log = structlog.get_logger(__name__)

RENEW_WITH_LEFT = 0.2
LONGEST_USE = 24 * 3600.0
DEFAULT_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    expires: float
    """Seconds since the epoch."""
    asked_at: float
    """Monotonic: ``lifetime`` seconds after it the token is worn out, whatever becomes of this machine's clock."""
    lifetime: float

    def is_worn(self, clock: Clock) -> bool:
        used, left = clock.monotonic() - self.asked_at, self.lifetime * RENEW_WITH_LEFT
        return used >= min(self.lifetime - left, LONGEST_USE) or clock.time() >= self.expires - left

    def has_expired(self, clock: Clock) -> bool:
        return clock.monotonic() - self.asked_at >= self.lifetime or clock.time() >= self.expires


class Tokens:
    """Asks through ``client`` and remembers. One for the whole node."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._tokens: dict[tuple[str, str, int], _Token] = {}

    async def token(self, pod: Object, audience: str, seconds: int) -> str:
        """A token of the pod's service account. Raises ApiError, Unreachable."""
        key = (uid_of(pod), audience, seconds)
        known = self._tokens.get(key)
        if known is not None and not known.is_worn(self._clock):
            return known.text
        try:
            fresh = await self._ask(pod, audience, seconds)
        except (ApiError, Retryable) as error:
            if known is None or known.has_expired(self._clock):
                raise
            log.warning("a token cannot be renewed yet", pod=f"{namespace_of(pod)}/{name_of(pod)}", error=str(error))
            return known.text
        self._tokens = {other: one for other, one in self._tokens.items() if not one.has_expired(self._clock)}
        self._tokens[key] = fresh
        return fresh.text

    async def _ask(self, pod: Object, audience: str, seconds: int) -> _Token:
        spec: Object = {
            "expirationSeconds": seconds,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": name_of(pod), "uid": uid_of(pod)},
        }
        if audience:
            spec["audiences"] = [audience]
        asked, asked_at = self._clock.time(), self._clock.monotonic()
        answer = await self._client.create(
            SERVICEACCOUNTS,
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {}, "spec": spec},
            namespace=namespace_of(pod),
            name=(pod["spec"].get("serviceAccountName") or "default"),
            subresource="token",
        )
        found = answer["status"]
        expires = parse_rfc3339(found["expirationTimestamp"])
        return _Token(found["token"], expires, asked_at, expires - asked)
