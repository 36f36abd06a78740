"""JSON Web Tokens and the keys that sign them (RFC 7515, 7517, 7519), on PyJWT's signatures.

A key's id is the digest of its public half, as Kubernetes names its keys: whoever has the key knows its name.
What a token's claims mean is for the caller; here they are JSON whose signature is good, or ``BadToken``.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from jwt.api_jwk import PyJWK
from jwt.api_jws import PyJWS
from jwt.exceptions import PyJWTError

from kontinuum.foundation.errors import Broken, Refused
from kontinuum.foundation.files import write_atomic

Claims = dict[str, Any]

ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")
"""Signatures by key pairs only. A shared secret (HS256) or none at all is never good."""
LONGEST = 64 * 1024
"""Characters of a token that are looked at; HTTP headers end there as well."""
LEAST_RSA_BITS = 2048
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}

_jws = PyJWS(algorithms=list(ALGORITHMS))

Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
Public = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class BadToken(Refused):
    """The token is none, or is not signed by any of the keys."""


class BadKey(Broken):
    """A key file cannot be read, or holds a key that is too weak or of another sort; the message names the file."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key. ``algorithm`` is the one its tokens must be signed with, or "" for any that fits the key."""

    key: Public
    key_id: str
    algorithm: str


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair."""

    key: Private
    public: VerifyingKey


def ensure_key(path: Path) -> None:
    """Make a new key at ``path`` unless there is one. Raises OSError.

    RSA, because every relying party understands RS256, and some (Microsoft Entra, older OIDC libraries) only that.
    """
    if path.exists():
        return
    key = rsa.generate_private_key(public_exponent=65537, key_size=LEAST_RSA_BITS)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_atomic(path, pem, mode=0o600)


def load_signing_key(path: Path) -> SigningKey:
    """Raises BadKey."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise BadKey(f"{path}: the signing key cannot be read: {error}") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise BadKey(f"{path}: the signing key must be an RSA or an elliptic curve key")
    return SigningKey(key, verifying_key(key.public_key(), source=path))


def load_verifying_keys(path: Path) -> list[VerifyingKey]:
    """Every public key in a PEM file; of a private key its public half. Raises BadKey."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadKey(f"{path}: the public keys cannot be read: {error}") from error
    found = [_public(block, path) for block in _blocks(text)]
    if not found:
        raise BadKey(f"{path}: there is no PEM key")
    return found


def _blocks(text: str) -> Iterable[bytes]:
    block: list[str] = []
    for line in text.splitlines():
        if line.startswith("-----BEGIN "):
            block = []
        block.append(line)
        if line.startswith("-----END "):
            yield ("\n".join(block) + "\n").encode()


def _public(block: bytes, path: Path) -> VerifyingKey:
    try:
        if b"PRIVATE KEY" in block:
            loaded: Any = serialization.load_pem_private_key(block, password=None).public_key()
        elif b"CERTIFICATE" in block:
            from cryptography import x509

            loaded = x509.load_pem_x509_certificate(block).public_key()
        else:
            loaded = serialization.load_pem_public_key(block)
    except (ValueError, TypeError) as error:
        raise BadKey(f"{path}: a public key cannot be read: {error}") from error
    if not isinstance(loaded, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise BadKey(f"{path}: public keys must be RSA or elliptic curve keys")
    return verifying_key(loaded, source=path)


def verifying_key(key: Public, *, source: object) -> VerifyingKey:
    """``key`` under its own id. Raises BadKey for a weak one."""
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < LEAST_RSA_BITS:
            raise BadKey(f"{source}: an RSA key needs at least {LEAST_RSA_BITS} bits, this one has {key.key_size}")
        algorithm = "RS256"
    else:
        algorithm = _CURVES.get(key.curve.name, "")
        if not algorithm:
            raise BadKey(f"{source}: the curve {key.curve.name} is not one of P-256, P-384 and P-521")
    return VerifyingKey(key, key_id(key), algorithm)


def key_id(key: Public) -> str:
    """base64url(SHA-256(SubjectPublicKeyInfo)), without padding."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def sign(key: SigningKey, claims: Claims) -> str:
    """A compact token of ``claims``."""
    public = key.public
    return _jws.encode(orjson.dumps(claims), key.key, algorithm=public.algorithm, headers={"kid": public.key_id})


def unverified(token: str) -> tuple[dict[str, Any], Claims]:
    """Header and claims of a token that anybody may have written. Raises BadToken."""
    try:
        if len(token) > LONGEST:
            raise BadToken("the token is too long")
        header, payload, _ = token.split(".")
        return _object(_decoded(header)), _object(_decoded(payload))
    except (ValueError, RecursionError) as error:
        raise BadToken("the token is no JSON Web Token") from error


def verify(token: str, keys: Sequence[VerifyingKey]) -> Claims:
    """The claims, if one of the keys has signed them; the token's ``kid``, if it has one, says which. Raises BadToken.

    Times and audiences are not looked at.
    """
    header, _ = unverified(token)
    named = header.get("kid")
    for key in keys:
        if named and key.key_id and named != key.key_id:
            continue
        algorithms = [key.algorithm] if key.algorithm else _fitting(key.key)
        try:
            return _object(_jws.decode(token, key.key, algorithms=algorithms))
        except (PyJWTError, ValueError, TypeError, RecursionError):
            continue
    raise BadToken("the token's signature is not by a known key")


def _fitting(key: Public) -> list[str]:
    if isinstance(key, rsa.RSAPublicKey):
        return [name for name in ALGORITHMS if not name.startswith("ES")]
    return [_CURVES[key.curve.name]] if key.curve.name in _CURVES else []


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _object(content: Any) -> dict[str, Any]:
    found = orjson.loads(content)
    if not isinstance(found, dict):
        raise ValueError("expected a JSON object")
    return found


def to_jwks(keys: Iterable[VerifyingKey]) -> dict[str, Any]:
    """The public JSON Web Key Set (RFC 7517)."""
    found = []
    for key in keys:
        if isinstance(key.key, rsa.RSAPublicKey):
            described = RSAAlgorithm.to_jwk(key.key, as_dict=True)
        else:
            described = ECAlgorithm.to_jwk(key.key, as_dict=True)
        described.pop("key_ops", None)
        found.append({"use": "sig", "kid": key.key_id, "alg": key.algorithm, **described})
    return {"keys": found}


def from_jwks(document: Any) -> list[VerifyingKey]:
    """The usable keys of a key set; those for encryption, or of an unknown sort, are left out. Raises BadToken."""
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise BadToken("the key set is no JSON Web Key Set")
    found = []
    for one in listed:
        if not isinstance(one, dict) or one.get("kty") not in ("RSA", "EC") or one.get("use", "sig") != "sig":
            continue
        try:
            key = PyJWK.from_dict(one).key
        except (PyJWTError, ValueError, TypeError, KeyError):
            continue
        if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
            algorithm = one.get("alg")
            named = str(one.get("kid") or "")
            found.append(VerifyingKey(key, named, algorithm if algorithm in ALGORITHMS else ""))
    return found
