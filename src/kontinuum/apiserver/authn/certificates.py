"""Client certificates: the common name is the user, each organization a group. TLS has verified the chain already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kontinuum.apiserver.authn.users import User, authenticated


def user_of_certificate(certificate: Mapping[str, Any] | None) -> User | None:
    """The user of a peer certificate (``ssl.SSLSocket.getpeercert()``); None without one or without a name."""
    if not certificate:
        return None
    name = ""
    groups = []
    for relative_name in certificate.get("subject", ()):
        for kind, value in relative_name:
            if kind == "commonName":
                name = value
            elif kind == "organizationName":
                groups.append(value)
    return authenticated(name, groups) if name else None
