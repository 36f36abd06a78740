"""The API server's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from kontinuum.apiserver.admission.settings import AdmissionSettings
from kontinuum.apiserver.audit.settings import AuditSettings
from kontinuum.foundation.addresses import check_address, check_listen, check_network, check_ports


class ServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything an administrator may decide about the API server. Paths are absolute."""

    listen: str = "127.0.0.1:6443"
    """``HOST:PORT`` to serve HTTPS on; port 0 lets the system choose one."""

    socket: Path | None = None
    """UNIX socket to serve this machine's own parts on, without TLS: only the user that the server runs as, and root,
    can connect. Empty: ``api.sock`` in the run directory."""

    socket_tokens: Path | None = None
    """The bearer tokens that are good there and nowhere else, in the format of ``token_file``. Empty:
    ``api-tokens.csv`` in the run directory, with a token for each part."""

    certificate: Path | None = None
    """PEM file with the server's certificate chain."""

    key: Path | None = None
    """PEM file with the certificate's private key."""

    client_ca: Path | None = None
    """PEM file with the authorities whose client certificates are trusted; without it none are."""

    token_file: Path | None = None
    """Bearer tokens as Kubernetes' token-auth-file: CSV of ``token,user,uid,"group1,group2"``."""

    anonymous: Literal["health", "always", "never"] = "health"
    """Whose requests without a credential are taken as ``system:anonymous``'s: those for ``/livez``, ``/readyz``,
    ``/healthz`` and ``/version``, and for the ConfigMap ``kube-public/cluster-info``, by which machines that join find
    the cluster's authority; all of them (what they may do the authorizer says); or none."""

    authentication_config: Path | None = None
    """File with an ``AuthenticationConfiguration`` (apiserver.config.k8s.io/v1): other issuers of tokens, and who is
    anonymous where; read again when it changes."""

    token_webhook_config: Path | None = None
    """Kubeconfig of a webhook that is asked (TokenReview v1) about bearer tokens that nobody else knows."""

    token_webhook_cache_seconds: float = 120.0
    """How long the token webhook's answers are remembered."""

    bootstrap_tokens: bool = True
    """Accept the tokens of Secrets of type ``bootstrap.kubernetes.io/token`` in kube-system."""

    front_proxy_ca: Path | None = None
    """PEM file with the authorities of front proxies, which say in ``X-Remote-*`` headers whose request it is."""

    front_proxy_names: tuple[str, ...] = ()
    """Common names that a front proxy's certificate may have. Empty: any."""

    proxy_client_certificate: Path | None = None
    """PEM file with the certificate that this server, as a front proxy itself, shows to extension API servers; it
    must be one of ``front_proxy_ca``'s."""

    proxy_client_key: Path | None = None
    """PEM file with the private key of ``proxy_client_certificate``."""

    service_account_issuer: str = "https://kubernetes.default.svc.cluster.local"
    """The issuer (``iss``) of service accounts' tokens, an https URL."""

    service_account_old_issuers: tuple[str, ...] = ()
    """Issuers whose tokens are still accepted, after ``service_account_issuer`` was changed."""

    service_account_key: Path | None = None
    """PEM file with the private key (RSA or EC) that signs service accounts' tokens; without it none are issued."""

    service_account_public_keys: tuple[Path, ...] = ()
    """PEM files with further keys whose tokens are good: keep the old one here after changing the signing key."""

    service_account_jwks_uri: str = ""
    """Where others fetch the public keys. Empty: ``/openid/v1/jwks`` of this server."""

    service_account_longest_seconds: int = 0
    """Longest lifetime of a token that may be asked for, at least 3600; longer ones are shortened. 0: no limit."""

    service_account_extends: bool = True
    """Pods' tokens stay good for a year instead of an hour, for clients that never read the file again; their use
    after the hour is noted in the audit log."""

    api_audiences: tuple[str, ...] = ()
    """Audiences of tokens that this server accepts. Empty: its issuer."""

    authorization: Literal["rbac", "always-allow"] = "rbac"
    """Who may do what: role-based rules (and what each node needs for its own pods), or everything to everybody who is
    let in."""

    admission: AdmissionSettings = AdmissionSettings()
    """What is decided about writes before they are stored."""

    encryption: Path | None = None
    """YAML file with an ``apiserver.config.k8s.io/v1`` EncryptionConfiguration: which resources are stored encrypted,
    with which keys. It is read again when it changes."""

    audit: AuditSettings = AuditSettings()
    """What is noted about requests."""

    node_client_certificate: Path | None = None
    """PEM file with the certificate shown to node servers for logs, exec and attach."""

    node_client_key: Path | None = None
    """PEM file with the private key of ``node_client_certificate``."""

    node_ca: Path | None = None
    """PEM file with the authorities that may vouch for node servers."""

    request_timeout_seconds: float = 60.0
    """Longest time a request that is not a watch or a stream may take; then 504. A request's own ``timeout`` can only
    shorten it."""

    header_timeout_seconds: float = 32.0
    """How long a client may take from the first byte of a request's headers to the last one."""

    idle_timeout_seconds: float = 90.0
    """How long a connection may be kept open without a request."""

    stalled_timeout_seconds: float = 60.0
    """How long a client may leave its answer (also a watch's events) unread before it is cut off. Logs, exec and attach
    may be left unread for as long as their user likes."""

    maximum_connections: int = 10_000
    """Connections at the same time; further ones are closed at once. The system's limit of open files may allow
    fewer."""

    maximum_in_flight: int = 600
    """Requests that are answered at the same time (a long list counts for several, a watch only at its beginning).
    Priority levels share them; further requests wait for their turn or get 429."""

    watch_minimum_seconds: float = 1800.0
    """A watch that names no timeout ends after a random time between this and twice this."""

    bookmark_seconds: float = 55.0
    """Time between two bookmarks on a watch that asked for them."""

    watch_queue: int = 4096
    """Events that may wait for one slow watcher; with more it is cut off and must watch again."""

    history_events: int = 4096
    """Events kept in memory per resource, so that a watch can resume where it broke off; of a resource with more
    objects than this, as many as it has objects."""

    history_replay: int = 1000
    """Changes of the store that are read again at start, so that watches resume over a restart."""

    read_wait_seconds: float = 3.0
    """How long a read waits for the watch cache to reach the revision it needs; then 504."""

    compaction_seconds: float = 300.0
    """How often old history is compacted away; history younger than this stays readable. 0 never compacts."""

    event_ttl_seconds: float = 3600.0
    """Age at which an Event object that has not been repeated is removed."""

    metrics_seconds: float = 15.0
    """How often nodes are asked what they and their pods use, for metrics.k8s.io (``kubectl top``). 0: never, and that
    group is not served."""

    service_cidrs: str = "10.96.0.0/12"
    """Networks from which Services get their addresses, one for each IP family, separated by a comma; the first one's
    family is the cluster's own."""

    node_port_range: str = "30000-32767"
    """Lowest and highest port of every node that Services may be given."""

    pods_address: str = ""
    """A second address to listen at, on the same port: that by which this machine's pods reach a server that otherwise
    listens on loopback. It may come into being later."""

    advertise_address: str = ""
    """Address at which pods reach this server, behind the Service ``kubernetes``; empty: the one it listens at, unless
    nobody else could reach that."""

    maximum_body_bytes: int = 3 * 1024 * 1024
    """Largest request body; larger ones get 413 (Kubernetes' own limit is 3 MiB)."""

    def __post_init__(self) -> None:
        check_listen("listen", self.listen)
        for network in self.service_cidrs.split(","):
            check_network("service_cidrs", network.strip())
        check_ports("node_port_range", self.node_port_range)
        for name, text in (("advertise_address", self.advertise_address), ("pods_address", self.pods_address)):
            if text:
                check_address(name, text)
