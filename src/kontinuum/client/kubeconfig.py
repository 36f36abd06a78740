"""Which server, and as whom: a kubeconfig file read into a ``Connection``.

Understood: certificate authority, client certificate and key (as files or inline), bearer token, token file, TLS server
name, insecure-skip-tls-verify, the context's namespace; without a kubeconfig, the service account that a pod is given.
Credential plug-ins (``exec``) and basic authentication are refused with a clear message.
"""

from __future__ import annotations

import base64
import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kontinuum.client.errors import BadKubeconfig

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Connection:
    """An API server's address and our credentials for it. Certificates and keys are PEM text or a file's path."""

    server: str
    """``https://host:port``."""
    certificate_authority: bytes | Path | None = None
    """None: the system's authorities."""
    client_certificate: bytes | Path | None = None
    client_key: bytes | Path | None = field(default=None, repr=False)
    token: str = field(default="", repr=False)
    token_file: str = ""
    """Read again as it changes; wins over ``token``."""
    socket: Path | None = None
    """A UNIX socket of that very server, to be connected to in place of its address, without TLS."""
    insecure: bool = False
    """Do not check the server's certificate."""
    namespace: str = "default"

    def tls_context(self) -> ssl.SSLContext | bool:
        """What to check the server with, and what to show it. True (a plain default) where TLS is not spoken."""
        if self.socket is not None or self.server.startswith("http://"):
            return True
        # Only given an authority is the context made without the system's: a certificate that one of those has issued
        # must not pass for our API server's, and reading them takes 40 ms.
        if isinstance(self.certificate_authority, bytes):
            context = ssl.create_default_context(cadata=self.certificate_authority.decode())
        else:
            context = ssl.create_default_context(cafile=self.certificate_authority)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self.load_certificate(context)
        return context

    def load_certificate(self, context: ssl.SSLContext) -> None:
        """Put the client certificate, as its files are now, into ``context``."""
        if self.client_certificate is None or self.client_key is None:
            return
        certificate, key = _file(self.client_certificate), _file(self.client_key)
        try:
            context.load_cert_chain(certificate.path, key.path)
        finally:
            certificate.close()
            key.close()


def load(path: str | Path, *, context: str = "") -> Connection:
    """Read the kubeconfig at ``path``; ``context`` "" means its current context. Raises BadKubeconfig."""
    import yaml  # slow to import, and our own parts are told their connection without a kubeconfig

    path = Path(path)
    try:
        config = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise BadKubeconfig(f"reading the kubeconfig {path}: {error}") from error
    if not isinstance(config, dict):
        raise BadKubeconfig(f"the kubeconfig {path} is not a mapping")
    chosen = _named(config, "contexts", context or config.get("current-context") or "", path)
    cluster = _named(config, "clusters", chosen.get("cluster", ""), path)
    user = _named(config, "users", chosen.get("user", ""), path)
    for method in ("exec", "auth-provider", "username"):
        if user.get(method):
            raise BadKubeconfig(f"the kubeconfig {path} authenticates by {method}, which is not supported")
    if not cluster.get("server"):
        raise BadKubeconfig(f"the kubeconfig {path} names no server")
    return Connection(
        server=cluster["server"].rstrip("/"),
        certificate_authority=_material(cluster, "certificate-authority", path),
        client_certificate=_material(user, "client-certificate", path),
        client_key=_material(user, "client-key", path),
        token=user.get("token", ""),
        token_file=str(path.parent / user["tokenFile"]) if user.get("tokenFile") else "",
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        namespace=chosen.get("namespace") or "default",
    )


def in_cluster() -> Connection:
    """The connection of a program that runs in a pod. Raises BadKubeconfig outside of one."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port or not (_SERVICE_ACCOUNT / "token").exists():
        raise BadKubeconfig("this is not a pod with a service account; give a kubeconfig")
    return Connection(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        certificate_authority=_SERVICE_ACCOUNT / "ca.crt",
        token_file=str(_SERVICE_ACCOUNT / "token"),
        namespace=(_SERVICE_ACCOUNT / "namespace").read_text().strip(),
    )


def _named(config: dict[str, Any], section: str, name: str, path: Path) -> dict[str, Any]:
    singular = section.removesuffix("s")
    for entry in config.get(section) or ():
        if entry.get("name") == name:
            content: dict[str, Any] = entry.get(singular) or {}
            return content
    raise BadKubeconfig(f'the kubeconfig {path} has no {singular} named "{name}"')


def _material(entry: dict[str, Any], name: str, path: Path) -> bytes | Path | None:
    """Inline data wins over a file, and a relative file is relative to the kubeconfig, as in client-go."""
    if inline := entry.get(f"{name}-data"):
        try:
            return base64.b64decode(inline, validate=True)
        except ValueError as error:
            raise BadKubeconfig(f"{name}-data in the kubeconfig {path} is not base64") from error
    return path.parent / entry[name] if entry.get(name) else None


class _file:
    """A path to read ``content`` from. OpenSSL reads only files, so bytes go through memory, never to a disk."""

    def __init__(self, content: bytes | Path) -> None:
        self._descriptor = -1
        if isinstance(content, Path):
            self.path = str(content)
            return
        self._descriptor = os.memfd_create("credential")
        os.write(self._descriptor, content)
        self.path = f"/proc/self/fd/{self._descriptor}"

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
