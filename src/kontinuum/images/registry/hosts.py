"""Where a registry's content is asked for: ``certs.d/HOST/hosts.toml``, the files that containerd itself reads.

    server = "https://registry.example"             asked last
    [host."https://mirror.local:5000"]               asked first, in the order of the file
      capabilities = ["pull", "resolve"]
      ca = "mirror.pem"                              client, skip_verify, header, override_path likewise

So one file speaks for pods' pulls and for ours. Reference: containerd's docs/hosts.md.
"""

from __future__ import annotations

import ssl
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kontinuum.foundation.errors import Refused

CAPABILITIES = ("pull", "resolve", "push")
DOCKER_HUB, ITS_SERVER = "docker.io", "registry-1.docker.io"
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class BadHosts(Refused):
    """A hosts.toml that cannot be meant."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place to ask. ``base`` is a URL up to and including ``/v2``."""

    base: str
    capabilities: frozenset[str] = frozenset(CAPABILITIES)
    authorities: tuple[Path, ...] = ()
    clients: tuple[tuple[Path, Path | None], ...] = ()
    """Certificates (and keys) we show."""
    skip_verify: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return urlsplit(self.base).netloc

    @property
    def is_encrypted(self) -> bool:
        return self.base.startswith("https:")

    def tls(self) -> ssl.SSLContext | bool:
        """What aiohttp wants to know. Raises BadHosts."""
        if not (self.authorities or self.clients or self.skip_verify):
            return True
        try:
            context = ssl.create_default_context()
            for one in self.authorities:
                context.load_verify_locations(one)
            for certificate, key in self.clients:
                context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise BadHosts(f"certificates for {self.base}: {error}") from error
        if self.skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def endpoints(registry: str, directory: Path | None, *, plain_http: bool = False) -> list[Endpoint]:
    """Where to ask for what is named after ``registry`` (``host[:port]``), the best first.

    ``directory`` is containerd's ``certs.d``. Raises BadHosts.
    """
    place = _directory(registry, directory)
    own = Endpoint(base_of(default_server(registry, plain_http=plain_http)))
    if place is None or plain_http:
        return [own]
    file = place / "hosts.toml"
    if not file.exists():
        return [_with_files(own, place)]
    try:
        document = tomllib.loads(file.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadHosts(f"{file}: {error}") from error
    hosts = document.get("host") or {}
    if not isinstance(hosts, dict):
        raise BadHosts(f'{file}: [host."URL"] tables are needed')
    found = [_endpoint(url, table, file) for url, table in hosts.items()]
    server = document.get("server") or default_server(registry)
    return [*found, _endpoint(server, {key: value for key, value in document.items() if key != "host"}, file)]


def default_server(registry: str, *, plain_http: bool = False) -> str:
    """Where a registry is without a file: TLS, but on our own machine."""
    if registry == DOCKER_HUB:
        return f"https://{ITS_SERVER}"
    name = registry if registry.startswith("[") and registry.endswith("]") else registry.rpartition(":")[0] or registry
    return f"{'http' if plain_http or name in LOOPBACK else 'https'}://{registry}"


def base_of(url: str, *, override_path: bool = False) -> str:
    """The URL below which repositories lie."""
    url = url if "://" in url else f"https://{url}"
    url = url.rstrip("/")
    return url if override_path or url.endswith("/v2") else f"{url}/v2"


def _directory(registry: str, directory: Path | None) -> Path | None:
    if directory is None:
        return None
    name, colon, port = registry.rpartition(":")
    # containerd's two spellings: file systems of other systems know no colon.
    candidates = [registry, f"{name}_{port}_" if colon else registry, "_default"]
    return next((directory / one for one in candidates if (directory / one).is_dir()), None)


def _with_files(own: Endpoint, place: Path) -> Endpoint:
    """Docker's way: certificates that lie in the directory without a hosts.toml."""
    clients = tuple((one, one.with_suffix(".key")) for one in sorted(place.glob("*.cert")))
    return Endpoint(own.base, authorities=tuple(sorted(place.glob("*.crt"))), clients=clients)


def _endpoint(url: str, table: Any, file: Path) -> Endpoint:
    if not isinstance(table, dict):
        raise BadHosts(f"{file}: host {url}: a table is needed")
    said = table.get("capabilities") or list(CAPABILITIES)
    if not isinstance(said, list) or not set(said) <= set(CAPABILITIES):
        raise BadHosts(f"{file}: host {url}: capabilities are a list of {', '.join(CAPABILITIES)}")
    headers = table.get("header") or {}
    if not isinstance(headers, dict):
        raise BadHosts(f"{file}: host {url}: header is a table")
    return Endpoint(
        base_of(url, override_path=bool(table.get("override_path"))),
        frozenset(said),
        tuple(file.parent / one for one in _words(table.get("ca"), file, f"{url}: ca")),
        tuple(_clients(table.get("client"), file, url)),
        bool(table.get("skip_verify")),
        {name: ", ".join(_words(value, file, f"{url}: header")) for name, value in headers.items()},
    )


def _clients(value: Any, file: Path, url: str) -> list[tuple[Path, Path | None]]:
    if value is None or isinstance(value, str):
        return [(file.parent / value, None)] if value else []
    if not isinstance(value, list):
        raise BadHosts(f"{file}: host {url}: client is a file or a list of [certificate, key]")
    pairs = [_words(one, file, f"{url}: client") for one in value]
    return [(file.parent / pair[0], file.parent / pair[1] if len(pair) > 1 and pair[1] else None) for pair in pairs]


def _words(value: Any, file: Path, where: str) -> list[str]:
    words = [value] if isinstance(value, str) else value or []
    if not isinstance(words, list) or not all(isinstance(one, str) for one in words):
        raise BadHosts(f"{file}: host {where}: a string or a list of strings is needed")
    return words
