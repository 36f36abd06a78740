"""The settings of the store: which engine keeps the objects, and how to get at it."""

from __future__ import annotations

from pathlib import Path

import msgspec


class StoreSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where objects are kept. Paths are absolute, files are PEM."""

    address: str = ""
    """``sqlite:///PATH``, or ``etcd://HOST:PORT,HOST:PORT`` with every member of the cluster. Empty: SQLite in the data
    directory. ``--store`` sets it too."""

    certificate_authority: Path | None = None
    """Authorities that may vouch for etcd's members. With it, or with ``certificate``, the connection is TLS."""

    certificate: Path | None = None
    """Client certificate shown to etcd's members."""

    key: Path | None = None
    """Private key of ``certificate``."""

    user: str = ""
    """User of etcd's own authentication, with ``password_file``."""

    password_file: Path | None = None
    """File whose first line is the user's password."""

    prefix: str = "/kontinuum/"
    """The key of etcd under which everything is kept. Clusters that share an etcd must differ in it."""

    patience_seconds: float = 10.0
    """How long one request looks for a member of etcd that answers; then 503. An election takes one to two seconds."""
