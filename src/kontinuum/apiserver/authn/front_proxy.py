"""The front proxy: whoever shows a certificate of its authority says in headers on whose behalf a request comes.

X-Remote-User: jane    X-Remote-Uid: 42    X-Remote-Group: dev    X-Remote-Extra-Scopes: read
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote

from kontinuum.apiserver.authn.certificates import PeerCertificates
from kontinuum.apiserver.authn.port import BadCredential, Request
from kontinuum.apiserver.authn.users import User, authenticated

NAME, UID, GROUP = "X-Remote-User", "X-Remote-Uid", "X-Remote-Group"
EXTRA_PREFIX = "x-remote-extra-"


class FrontProxyAuthenticator:
    """``names`` are the common names that a proxy's certificate may have; none means any."""

    def __init__(self, certificates: PeerCertificates, names: Sequence[str]) -> None:
        self._certificates = certificates
        self._names = frozenset(names)

    async def authenticate(self, request: Request) -> User | None:
        certificate = self._certificates.of(request)
        if certificate is None or not certificate.is_proxys:
            return None
        if self._names and certificate.common_name not in self._names:
            raise BadCredential(f"x509: subject with cn={certificate.common_name} is not in the allowed list")
        headers = request.headers
        name = headers.get(NAME, "").strip()
        if not name:
            return None
        extra: dict[str, tuple[str, ...]] = {}
        for key, value in headers.items():
            lower = key.lower()
            if lower.startswith(EXTRA_PREFIX):
                about = unquote(lower.removeprefix(EXTRA_PREFIX))
                extra[about] = (*extra.get(about, ()), value)
        return authenticated(name, headers.getall(GROUP, []), headers.get(UID, ""), extra)
