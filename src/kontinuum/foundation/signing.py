"""Signs certificate requests with an authority's key. Who may have which certificate is the caller's to decide."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ObjectIdentifier

from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Broken

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
BACKDATED = timedelta(minutes=5)
"""Certificates are valid from a little before now, for peers whose clocks are behind."""
KEY_USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip
"""The bits of the KeyUsage extension (RFC 5280, 4.2.1.3), as ``cryptography`` names them."""


class SigningBroken(Broken):
    """The authority's files cannot be read, or its certificate has run out."""


class RequestSigner:
    """Reads the authority's files anew each time, because they may be renewed."""

    def __init__(self, certificate: Path, key: Path, clock: Clock) -> None:
        self._certificate = certificate
        self._key = key
        self._clock = clock

    def sign(self, request: x509.CertificateSigningRequest, usages: Iterable[str | ObjectIdentifier],
             seconds: float) -> bytes:  # fmt: skip
        """A certificate (PEM) of what is asked for, valid for ``seconds``, at most as long as the authority's own.

        ``usages``: names of ``KEY_USAGES`` and identifiers of extended usages. Raises SigningBroken.
        """
        authority, key = self._load()
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        end = min(now + timedelta(seconds=seconds), authority.not_valid_after_utc)
        if end <= now:
            raise SigningBroken(f"{self._certificate}: the authority's certificate is not valid any more")
        if end <= authority.not_valid_before_utc:
            raise SigningBroken(
                f"{self._certificate}: the authority's certificate is not valid yet; is the clock right?"
            )
        usages = list(usages)
        builder = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(authority.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(now - BACKDATED, authority.not_valid_before_utc))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        )
        # Bits that mean something only together with another one are left out where that is not asked for.
        bits = {name for name in usages if isinstance(name, str)}
        if "key_agreement" not in bits:
            bits -= {"encipher_only", "decipher_only"}
        if bits:
            builder = builder.add_extension(x509.KeyUsage(**{name: name in bits for name in KEY_USAGES}), critical=True)
        if extended := [one for one in usages if isinstance(one, ObjectIdentifier)]:
            builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
        if (names := alternatives_of(request)) is not None:
            builder = builder.add_extension(names, critical=False)
        signed = builder.sign(key, _digest(key))
        return signed.public_bytes(serialization.Encoding.PEM)

    def _load(self) -> tuple[x509.Certificate, Key]:
        try:
            authority = x509.load_pem_x509_certificate(self._certificate.read_bytes())
            key = serialization.load_pem_private_key(self._key.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise SigningBroken(f"the authority that signs requests cannot be read: {error}") from error
        if not isinstance(key, Key) or key.public_key() != authority.public_key():
            raise SigningBroken(f"{self._key} is not the key of {self._certificate}")
        return authority, key


def alternatives_of(request: x509.CertificateSigningRequest) -> x509.SubjectAlternativeName | None:
    """The other names that the request asks for."""
    try:
        return request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _digest(key: Key) -> hashes.SHA256 | None:
    """Edwards curves bring their own."""
    return hashes.SHA256() if isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) else None
