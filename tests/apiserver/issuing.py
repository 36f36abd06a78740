"""A real OpenID Connect provider: discovery and keys over TLS on a loopback port, and tokens of every sort."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.pki import Authority

AUDIENCE = "kontinuum"
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
RSA_KEYS = [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]
CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


@dataclass
class Provider:
    authority: Authority
    url: str = ""
    keys: dict[str, Private] = field(default_factory=lambda: {"first": RSA_KEYS[0]})
    """Those that it publishes, by their ids."""
    told_issuer: str = ""
    """What its discovery says, if that is not its URL."""
    jwks_uri: str = ""
    is_away: bool = False
    asked: list[str] = field(default_factory=list)

    def claims(self, **more: Any) -> dict[str, Any]:
        now = int(time.time())
        usual = {"iss": self.url, "sub": "jane", "aud": AUDIENCE, "iat": now, "exp": now + 600}
        return {key: value for key, value in {**usual, **more}.items() if value is not None}

    def token(self, *, key: Any = None, kid: str | None = "first", algorithm: str = "RS256", **claims: Any) -> str:
        """Signed with ``key``, by default the one that is published as ``kid``. A claim of None is left out."""
        headers = {"kid": kid} if kid else {}
        signer = key if key is not None else self.keys[kid or "first"]
        return jwt.encode(self.claims(**claims), signer, algorithm=algorithm, headers=headers)

    def public_pem(self, kid: str = "first") -> bytes:
        return self.keys[kid].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    async def describe(self, request: web.Request) -> web.Response:
        self.asked.append("discovery")
        if self.is_away:
            raise web.HTTPServiceUnavailable
        place = self.jwks_uri or f"{self.url}/keys"
        return web.json_response({"issuer": self.told_issuer or self.url, "jwks_uri": place})

    async def publish(self, request: web.Request) -> web.Response:
        self.asked.append("keys")
        return web.json_response({"keys": [_jwk(kid, key) for kid, key in self.keys.items()]})


def _jwk(kid: str, key: Private) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        described = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        described = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    described.pop("key_ops", None)
    return {**described, "kid": kid, "use": "sig"}


@contextlib.asynccontextmanager
async def providing(directory: Path) -> AsyncIterator[Provider]:
    authority = Authority.ensure(directory, RealClock(), name="provider")
    provider = Provider(authority)
    pair = authority.ensure_server("provider", common_name="provider", hosts=["localhost"])
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair.certificate, pair.key)
    application = web.Application()
    application.router.add_get("/.well-known/openid-configuration", provider.describe)
    application.router.add_get("/elsewhere", provider.describe)
    application.router.add_get("/keys", provider.publish)
    runner = web.AppRunner(application, handle_signals=False, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        provider.url = f"https://localhost:{runner.addresses[0][1]}"
        yield provider
    finally:
        await runner.cleanup()
