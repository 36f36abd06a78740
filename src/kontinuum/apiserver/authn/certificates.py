"""Client certificates: the common name is the user, each organization a group. TLS has verified the chain already.

TLS verifies once per connection, and against the clients' and the front proxy's authorities alike; whether the
certificate is still valid, and whose authority has issued it, is looked at again for each request.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from kontinuum.apiserver.authn.port import BadCredential, Request
from kontinuum.apiserver.authn.users import CREDENTIAL_ID, User, authenticated
from kontinuum.foundation.clock import Clock

UID_OID = "1.3.6.1.4.1.57683.2"
"""The subject's attribute that carries a user's uid (KEP-5018)."""
REMEMBERED = 4096
"""Certificates whose reading is remembered, by their bytes: a client shows the same one on each connection."""


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """A certificate that TLS has verified. ``user`` is None for one without a common name; times are seconds."""

    user: User | None
    common_name: str
    not_before: float
    not_after: float
    is_proxys: bool
    """It was issued by the front proxy's authority: it may speak for others, and is nobody itself."""
    problem: str = ""


class PeerCertificates:
    """Reads the certificate of a request's connection."""

    def __init__(self, clock: Clock, proxy_authorities: Sequence[x509.Certificate] = ()) -> None:
        self._clock = clock
        self._proxy_authorities = proxy_authorities
        self._known: dict[bytes, PeerCertificate] = {}
        self._shown: WeakKeyDictionary[Any, PeerCertificate | None] = WeakKeyDictionary()
        """By connection: TLS asks once (renegotiation is switched off), and each request of it shows the same."""

    def of(self, request: Request) -> PeerCertificate | None:
        """None without a certificate. Raises BadCredential for one that has expired since the connection began."""
        transport = request.transport
        connection: Any = transport.get_extra_info("ssl_object") if transport is not None else None
        if connection is None:
            return None
        try:
            found = self._shown[connection]
        except KeyError:
            found = self._shown[connection] = self._shown_by(connection)
        if found is None:
            return None
        if not found.not_before <= self._clock.time() <= found.not_after:
            raise BadCredential("x509: certificate has expired or is not yet valid")
        return found

    def _shown_by(self, connection: Any) -> PeerCertificate | None:
        content: bytes | None = connection.getpeercert(True)
        if not content:
            return None
        found = self._known.get(content)
        if found is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            found = self._known[content] = self._read(content, connection.getpeercert())
        return found

    def _read(self, content: bytes, described: Mapping[str, Any]) -> PeerCertificate:
        user, problem = None, ""
        names = subject(described)
        try:
            user = user_of_certificate(described, content)
        except BadCredential as error:
            problem = str(error)
        return PeerCertificate(
            user,
            names.get("commonName", [""])[-1],
            ssl.cert_time_to_seconds(described["notBefore"]),
            ssl.cert_time_to_seconds(described["notAfter"]),
            is_issued_by(content, self._proxy_authorities),
            problem,
        )


class CertificateAuthenticator:
    """See the module."""

    def __init__(self, certificates: PeerCertificates) -> None:
        self._certificates = certificates

    async def authenticate(self, request: Request) -> User | None:
        found = self._certificates.of(request)
        if found is None or found.is_proxys:
            return None
        if found.problem:
            raise BadCredential(found.problem)
        return found.user


def subject(described: Mapping[str, Any]) -> dict[str, list[str]]:
    """The subject's attributes by their names, or dotted numbers where OpenSSL has no name."""
    found: dict[str, list[str]] = {}
    for relative_name in described.get("subject", ()):
        for kind, value in relative_name:
            found.setdefault(kind, []).append(value)
    return found


def user_of_certificate(described: Mapping[str, Any] | None, content: bytes = b"") -> User | None:
    """The user of a peer certificate, as ``ssl.SSLSocket.getpeercert()`` describes it and as DER.

    None without one or without a name. Raises BadCredential for one that names several uids.
    """
    names = subject(described or {})
    common_name = names.get("commonName", [""])[-1]
    if not common_name:
        return None
    uids = names.get(UID_OID, [])
    if len(uids) > 1:
        raise BadCredential("expected 1 UID, but found multiple")
    extra = {CREDENTIAL_ID: (f"X509SHA256={hashlib.sha256(content).hexdigest()}",)} if content else {}
    return authenticated(common_name, names.get("organizationName", []), uids[0] if uids else "", extra)


def is_issued_by(content: bytes, authorities: Sequence[x509.Certificate]) -> bool:
    """Whether one of ``authorities`` has signed the certificate itself."""
    if not authorities:
        return False
    certificate = x509.load_der_x509_certificate(content)
    for authority in authorities:
        try:
            certificate.verify_directly_issued_by(authority)
            return True
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            continue
    return False


def load_authorities(path: Path | None) -> list[x509.Certificate]:
    """The certificates of a PEM file. Raises OSError, ValueError."""
    return x509.load_pem_x509_certificates(path.read_bytes()) if path is not None else []
