"""Our own certificate authority: ECDSA P-256, files of mode 0600, renewed while a third of their life is left.

    DIR/ca.crt ca.key            the authority
    DIR/NAME.crt NAME.key        what it has issued

``ensure_*`` is a reconciler: it looks at what is there, and issues again what is missing, expiring, signed by another
authority, or made for other names than are asked for.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Broken
from kontinuum.foundation.files import make_directory, write_atomic

DAY = 86_400.0
AUTHORITY_LIFETIME = 10 * 365 * DAY
LIFETIME = 365 * DAY
_RENEW_WITH_LEFT = 1 / 3
_CLOCK_SKEW = timedelta(minutes=5)
"""Certificates are valid from a little before now, for peers whose clocks are behind."""


class AuthorityBroken(Broken):
    """The authority's files cannot be read or do not belong together."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Where a certificate and its private key are (PEM)."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority in a directory."""

    def __init__(
        self, directory: Path, clock: Clock, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._certificate = certificate
        self._key = key

    @classmethod
    def ensure(cls, directory: Path, clock: Clock, *, name: str = "kontinuum") -> Authority:
        """The authority in ``directory``, made if there is none. Raises AuthorityBroken, OSError."""
        make_directory(directory, mode=0o700)
        pair = KeyPair(directory / "ca.crt", directory / "ca.key")
        if not pair.certificate.exists() and not pair.key.exists():
            certificate, key = _new_authority(name, clock)
            _write(pair, certificate, key)
            return cls(directory, clock, certificate, key)
        try:
            certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
            loaded = serialization.load_pem_private_key(pair.key.read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise AuthorityBroken(f"{directory}: the certificate authority cannot be read: {error}") from error
        if not isinstance(loaded, ec.EllipticCurvePrivateKey) or loaded.public_key() != certificate.public_key():
            raise AuthorityBroken(f"{directory}: ca.key is not the key of ca.crt")
        return cls(directory, clock, certificate, loaded)

    @property
    def certificate(self) -> Path:
        """The file that others trust."""
        return self._directory / "ca.crt"

    def ensure_server(
        self, name: str, *, common_name: str, hosts: Sequence[str], lifetime: float = LIFETIME
    ) -> KeyPair:
        """A server's key pair for ``hosts`` (DNS names and IP addresses); ``lifetime`` in seconds."""
        return self._ensure(name, _subject(common_name, ()), _alternatives(hosts), lifetime)

    def ensure_client(self, name: str, *, user: str, groups: Sequence[str] = (), lifetime: float = LIFETIME) -> KeyPair:
        """A client's key pair: Kubernetes reads CN as the user and each O as a group."""
        return self._ensure(name, _subject(user, groups), None, lifetime)

    def renew_after(self, pair: KeyPair) -> float:
        """Seconds from now until ``ensure_*`` would issue ``pair`` again; 0 if it would now."""
        return renew_after(pair, self._clock)

    def _ensure(
        self, name: str, subject: x509.Name, hosts: x509.SubjectAlternativeName | None, lifetime: float
    ) -> KeyPair:
        pair = KeyPair(self._directory / f"{name}.crt", self._directory / f"{name}.key")
        if not _serves(pair, self._certificate, subject, hosts, self._clock):
            certificate, key = self._issue(subject, hosts, lifetime)
            _write(pair, certificate, key)
        return pair

    def _issue(
        self, subject: x509.Name, hosts: x509.SubjectAlternativeName | None, lifetime: float
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if hosts is None else ExtendedKeyUsageOID.SERVER_AUTH
        builder = (
            _builder(subject, key.public_key(), self._clock, lifetime)
            .issuer_name(self._certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if hosts is not None:
            builder = builder.add_extension(hosts, critical=False)
        return builder.sign(self._key, hashes.SHA256()), key


@dataclass(frozen=True, slots=True)
class Wanted:
    """A certificate that somebody else's authority is asked for: whose, and for which hosts (none: a client's)."""

    user: str
    groups: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    @property
    def subject(self) -> x509.Name:
        return _subject(self.user, self.groups)

    @property
    def alternatives(self) -> x509.SubjectAlternativeName | None:
        return _alternatives(self.hosts) if self.hosts else None

    def is_had(self, pair: KeyPair, authority: Path, clock: Clock) -> bool:
        """Whether ``pair`` is what would be asked for now, issued by ``authority`` and good for a while yet."""
        return _serves(pair, _certificate_of(authority), self.subject, self.alternatives, clock)

    def request(self) -> tuple[bytes, bytes]:
        """A new private key, and the request (PKCS#10) for its certificate; both PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = x509.CertificateSigningRequestBuilder().subject_name(self.subject)
        if (names := self.alternatives) is not None:
            builder = builder.add_extension(names, critical=False)
        return _pem(key), builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def renew_after(pair: KeyPair, clock: Clock) -> float:
    """Seconds from now until ``pair`` wants renewal; 0 if it does now. Raises OSError, ValueError."""
    return max(0.0, _renewal(_certificate_of(pair.certificate)).timestamp() - clock.time())


def ends_after(pair: KeyPair, clock: Clock) -> float:
    """Seconds from now until nobody takes ``pair`` any more; 0 if it is over or cannot be read."""
    try:
        end = _certificate_of(pair.certificate).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        return 0.0
    return max(0.0, end - clock.time()) if pair.key.exists() else 0.0


def write_pair(pair: KeyPair, certificate: bytes, key: bytes) -> None:
    """The key first: a certificate without its key is found out by ``_serves``; the reverse order is as harmless."""
    write_atomic(pair.key, key, mode=0o600)
    write_atomic(pair.certificate, certificate, mode=0o600)


def fingerprint(certificate: bytes) -> str:
    """``sha256:`` and the hash of a certificate's (PEM) public key, as kubeadm writes it. Raises ValueError."""
    key = x509.load_pem_x509_certificate(certificate).public_key()
    encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(encoded).hexdigest()}"


def _certificate_of(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _serves(
    pair: KeyPair,
    authority: x509.Certificate,
    subject: x509.Name,
    hosts: x509.SubjectAlternativeName | None,
    clock: Clock,
) -> bool:
    """Whether what is on the disk is what would be issued now."""
    try:
        certificate = _certificate_of(pair.certificate)
        key = serialization.load_pem_private_key(pair.key.read_bytes(), password=None)
        certificate.verify_directly_issued_by(authority)
    except (OSError, ValueError, TypeError, InvalidSignature):
        return False
    return (
        key.public_key() == certificate.public_key()
        and certificate.subject == subject
        and _alternatives_of(certificate) == hosts
        and clock.time() < _renewal(certificate).timestamp()
    )


def _new_authority(name: str, clock: Clock) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    # The serial in the name keeps two authorities apart that were made one after the other in the same place.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name}-ca@{int(clock.time())}")])
    certificate = (
        _builder(subject, key.public_key(), clock, AUTHORITY_LIFETIME)
        .issuer_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, clock: Clock, lifetime: float
) -> x509.CertificateBuilder:
    now = datetime.fromtimestamp(clock.time(), UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + timedelta(seconds=lifetime))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _renewal(certificate: x509.Certificate) -> datetime:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return end - (end - begin) * _RENEW_WITH_LEFT


def _subject(common_name: str, organizations: Sequence[str]) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in organizations]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternatives(hosts: Sequence[str]) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = []
    for host in dict.fromkeys(hosts):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return x509.SubjectAlternativeName(names)


def _alternatives_of(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(pair: KeyPair, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    write_pair(pair, certificate.public_bytes(serialization.Encoding.PEM), _pem(key))
