"""Where an etcd cluster is and how to get in: ``etcd://HOST:PORT,HOST:PORT``, certificates, a user."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kontinuum.foundation.errors import Refused

SCHEME = "etcd://"
PREFIX = "/kontinuum/"
LOCAL = ("127.0.0.1", "localhost", "[::1]")


class AddressRefused(Refused):
    """The address names no etcd cluster, or its parts contradict each other."""


@dataclass(frozen=True, slots=True)
class Access:
    """See the module. Paths are PEM files."""

    endpoints: tuple[str, ...]
    """``HOST:PORT`` of each member."""
    prefix: str = PREFIX
    """Everything is kept under this key of etcd; it ends in ``/``. Installations that share a cluster differ in it."""
    authority: Path | None = None
    """Who may vouch for the members. With this, or with a certificate, the wire is TLS."""
    certificate: Path | None = None
    """Shown to the members."""
    key: Path | None = None
    user: str = ""
    password: str = ""
    patience_seconds: float = 10.0
    """How long one request may look for a member that answers."""

    def __post_init__(self) -> None:
        if not self.prefix.endswith("/"):
            raise AddressRefused(f"etcd: the prefix {self.prefix!r} must end in /")
        if (self.certificate is None) != (self.key is None):
            raise AddressRefused("etcd: a certificate needs its key, and a key its certificate")
        strangers = [one for one in self.endpoints if one.rpartition(":")[0] not in LOCAL]
        if self.password and not self.is_encrypted and strangers:
            raise AddressRefused(
                f"etcd: the password would travel readable to {strangers[0]}; name the members' authority, so that the"
                " wire is TLS"
            )

    @property
    def is_encrypted(self) -> bool:
        return self.authority is not None or self.certificate is not None


def endpoints_of(address: str) -> tuple[str, ...]:
    """The members in ``etcd://HOST:PORT,HOST:PORT``. Raises AddressRefused."""
    if not address.startswith(SCHEME):
        raise AddressRefused(f"{address}: not an address of etcd; it looks like {SCHEME}host1:2379,host2:2379")
    found = tuple(one.strip() for one in address.removeprefix(SCHEME).rstrip("/").split(","))
    for one in found:
        host, colon, port = one.rpartition(":")
        if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise AddressRefused(f"{address}: {one!r} is no HOST:PORT")
    return found
