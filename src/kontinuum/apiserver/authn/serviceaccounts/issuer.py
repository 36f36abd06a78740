"""Who signs service accounts' tokens, and where others find the keys to check them (OpenID Connect Discovery 1.0)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import NamedTuple

import orjson

from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.authn.serviceaccounts import claims
from kontinuum.foundation import jwt
from kontinuum.foundation.clock import Clock

DISCOVERY_PATH = "/.well-known/openid-configuration"
JWKS_PATH = "/openid/v1/jwks"
LEAST_SECONDS = 600
POD_SECONDS = 3607
"""What the ServiceAccount plug-in asks for in pods' volumes; the odd number tells such requests from all others."""
EXTENDED_SECONDS = 365 * 24 * 3600


class Issued(NamedTuple):
    """``token_id`` is what the audit log calls it."""

    token: str
    token_id: str
    expires: int
    """Seconds since the epoch: when its user should have another one. It may stay good for longer."""


class Issuer:
    """``other_keys`` are further public keys that are good, of issuers before or beside this one."""

    def __init__(
        self,
        key: jwt.SigningKey,
        clock: Clock,
        *,
        url: str,
        audiences: Sequence[str],
        other_keys: Sequence[jwt.VerifyingKey] = (),
        longest_seconds: int = 0,
        extends: bool = True,
    ) -> None:
        self.key = key
        self.url = url
        self.audiences = tuple(audiences)
        self.longest_seconds = longest_seconds
        self._clock = clock
        self._keys = list({one.key_id: one for one in [key.public, *other_keys]}.values())
        self._extends = extends

    def issue(
        self,
        account: Object,
        audiences: Sequence[str],
        seconds: int,
        *,
        pod: Object | None = None,
        node: claims.Reference | None = None,
        secret: Object | None = None,
    ) -> Issued:
        """A token of ``account``, bound to what is given."""
        now, token_id = int(self._clock.time()), str(uuid.uuid4())
        # Clients that read the file once and never again get a year, and the audit log says who they are.
        is_patient = (
            self._extends and pod is not None and seconds == POD_SECONDS and set(audiences) <= set(self.audiences)
        )
        made = claims.build(
            issuer=self.url,
            account=account,
            audiences=audiences,
            now=now,
            seconds=EXTENDED_SECONDS if is_patient else seconds,
            token_id=token_id,
            pod=pod,
            node=node,
            secret=secret,
            warn_seconds=seconds if is_patient else None,
        )
        return Issued(jwt.sign(self.key, made), token_id, now + seconds)

    def configuration(self, jwks_uri: str) -> bytes:
        """The discovery document."""
        document = {
            "issuer": self.url,
            "jwks_uri": jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": sorted({one.algorithm for one in self._keys}),
        }
        return orjson.dumps(document)

    def key_set(self) -> bytes:
        return orjson.dumps(jwt.to_jwks(self._keys))
