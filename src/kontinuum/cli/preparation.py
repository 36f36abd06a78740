"""What must stand before any part starts: directories, certificates, the administrator's kubeconfig.

Safe to run again at any time: it makes what is missing and renews what is about to expire.
"""

from __future__ import annotations

import base64
import json
import socket
from pathlib import Path

from kontinuum.cli.identities import ensure_tokens, identities
from kontinuum.cli.installation import RUN_MODE, Installation
from kontinuum.cli.settings import FRONT_PROXY, Settings
from kontinuum.foundation import jwt
from kontinuum.foundation.addresses import nth_address, split_networks
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.files import make_directory, write_if_changed
from kontinuum.foundation.pki import Authority, KeyPair

CLUSTER_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")


def prepare(settings: Settings, clock: Clock, *, serves: bool = True) -> float:
    """Make directories, certificates, tokens and kubeconfig. Returns the seconds until a certificate wants renewal.

    ``serves``: whether the API server is among what starts. A part alone need not be told where that listens: it leaves
    the server's certificate and a kubeconfig that is there as they are.

    Raises OSError (a full or read-only disk), pki.AuthorityBroken.
    """
    paths = settings.installation
    make_directories(paths)
    authority = Authority.ensure(paths.pki, clock)
    pairs = issue(settings, authority, serves=serves)
    if settings.server.service_account_key is not None:
        jwt.ensure_key(settings.server.service_account_key)
    if settings.server.socket_tokens is not None:
        ensure_tokens(settings.server.socket_tokens, identities(settings).values())
    if serves or not paths.kubeconfig.exists():
        write_if_changed(paths.kubeconfig, kubeconfig(settings, authority.certificate, pairs["admin"]), mode=0o600)
    proxies = Authority.ensure(paths.front_proxy, clock, name="kontinuum-front-proxy")
    proxy = proxies.ensure_client("client", user=FRONT_PROXY)
    return min(proxies.renew_after(proxy), *(authority.renew_after(pair) for pair in pairs.values()))


def make_directories(paths: Installation) -> None:
    """Those of every installation. Raises OSError."""
    make_directory(paths.data)
    make_directory(paths.logs, mode=0o750)
    make_directory(paths.run, mode=RUN_MODE)
    make_directory(paths.templates, mode=0o700)


def issue(settings: Settings, authority: Authority, *, serves: bool) -> dict[str, KeyPair]:
    """Every certificate of one machine, by name. Users and groups are those that Kubernetes' own parts have."""
    node, host = settings.node.name, settings.server.listen.rpartition(":")[0].strip("[]")
    listening = [host] if host not in ("", "0.0.0.0", "::", "*") else []
    reached = [one for one in (settings.server.pods_address, settings.server.advertise_address) if one]
    # The first address of the Services' is that of the Service ``kubernetes``.
    service = [nth_address(network, 1) for network in split_networks(settings.server.service_cidrs)]
    own = ["127.0.0.1", "::1", "localhost", socket.gethostname(), settings.node.address]
    hosts = list(dict.fromkeys([*own, *listening, *reached, *service, *CLUSTER_NAMES]))
    clients = {
        name: authority.ensure_client(name, user=user, groups=groups)
        for name, (user, groups) in identities(settings).items()
    }
    server = {"server": authority.ensure_server("server", common_name="kube-apiserver", hosts=hosts)} if serves else {}
    return {
        **clients,
        **server,
        "node-client": authority.ensure_client(
            "node-client", user="kube-apiserver-kubelet-client", groups=["system:masters"]
        ),
        "node-server": authority.ensure_server(
            "node-server", common_name=f"system:node:{node}", hosts=["127.0.0.1", node, settings.node.address]
        ),
    }


def kubeconfig(settings: Settings, certificate_authority: Path, pair: KeyPair) -> str:
    """A kubeconfig that carries its certificates, so that it can be copied to another machine."""
    user = {"client-certificate-data": _inline(pair.certificate), "client-key-data": _inline(pair.key)}
    return kubeconfig_of(settings.api_address, certificate_authority, "kubernetes-admin", user)


def kubeconfig_of(server: str, certificate_authority: Path, name: str, user: dict[str, str]) -> str:
    """``user``: the credentials of who is called ``name`` here. JSON is YAML."""
    cluster = {"server": server, "certificate-authority-data": _inline(certificate_authority)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "kontinuum", "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "kontinuum", "context": {"cluster": "kontinuum", "user": name}}],
        "current-context": "kontinuum",
    }
    return json.dumps(document, indent=2) + "\n"


def _inline(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
