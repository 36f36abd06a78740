"""Bootstrap tokens, ``abcdef.0123456789abcdef``: a Secret in kube-system says whether one is good, and for what.

apiVersion: v1
kind: Secret
metadata: {namespace: kube-system, name: bootstrap-token-abcdef}
type: bootstrap.kubernetes.io/token
stringData:
  token-id: abcdef
  token-secret: 0123456789abcdef
  expiration: 2030-01-01T00:00:00Z        # may be left out
  usage-bootstrap-authentication: "true"
  auth-extra-groups: system:bootstrappers:workers
"""

from __future__ import annotations

import base64
import hmac

import structlog

from kontinuum.api.kubernetes.bootstrap import GROUP, NAMESPACE, TOKEN, TYPE, secret_name
from kontinuum.api.kubernetes.resources import SECRETS
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.authn.objects import Objects
from kontinuum.apiserver.authn.port import Audiences, BadCredential, TokenUser
from kontinuum.apiserver.authn.users import User, authenticated
from kontinuum.foundation.clock import Clock, parse_rfc3339

log = structlog.get_logger(__name__)

GROUPS = "auth-extra-groups"


class BootstrapTokens:
    """See the module."""

    def __init__(self, objects: Objects, clock: Clock) -> None:
        self._objects = objects
        self._clock = clock

    async def authenticate(self, token: str, audiences: Audiences) -> TokenUser | None:
        match = TOKEN.fullmatch(token)
        if match is None:
            return None
        token_id, secret = match.groups()
        found = await self._objects.find(SECRETS, NAMESPACE, secret_name(token_id))
        if found is None:
            return None
        user = user_of(found, token_id, secret, now=self._clock.time())
        return TokenUser(user, audiences) if user is not None else None


def user_of(obj: Object, token_id: str, secret: str, *, now: float) -> User | None:
    """Who shows the token that the Secret ``obj`` describes; None if the token is not good (any more)."""
    data = {key: _text(value) for key, value in (obj.get("data") or {}).items()}
    if obj.get("type") != TYPE or obj["metadata"].get("deletionTimestamp") or data.get("token-id") != token_id:
        return None
    if not hmac.compare_digest(data.get("token-secret", "").encode(), secret.encode()):
        return None
    if data.get("usage-bootstrap-authentication") != "true" or is_expired(data.get("expiration", ""), now=now):
        return None
    extra = [one.strip() for one in data.get(GROUPS, "").split(",") if one.strip()]
    if wrong := [one for one in extra if not GROUP.fullmatch(one)]:
        log.error("a bootstrap token names groups that it may not", token=token_id, groups=wrong)
        raise BadCredential(f"secret has invalid value for key {GROUPS}")
    return authenticated(f"system:bootstrap:{token_id}", ["system:bootstrappers", *extra])


def is_expired(expiration: str, *, now: float) -> bool:
    """A time that cannot be read is over: nobody can tell when it was meant to end."""
    if not expiration:
        return False
    try:
        return parse_rfc3339(expiration) <= now
    except ValueError:
        return True


def _text(value: object) -> str:
    try:
        return base64.b64decode(str(value), validate=True).decode()
    except ValueError:
        return ""
