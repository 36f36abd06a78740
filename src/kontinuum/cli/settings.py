"""All settings of one installation: each package's own, composed, with what follows from the data directory filled in.

Only what an operator decided is written down by hand; paths inside the data directory and the certificates' names are
derived here, once, so that every part is told and none has to guess.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from kontinuum.apiserver.settings import ServerSettings
from kontinuum.cli import membership
from kontinuum.cli.hosts_settings import HostsSettings
from kontinuum.cli.installation import Installation
from kontinuum.cli.store_settings import StoreSettings
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation import settings as loading
from kontinuum.foundation.addresses import nth_address, split_listen, split_networks
from kontinuum.foundation.programs import find_program
from kontinuum.node.settings import NodeSettings
from kontinuum.runtime.settings import RuntimeSettings
from kontinuum.scheduler.settings import SchedulerSettings

READ_ELSEWHERE = frozenset({"KONTINUUM_SHIM_SOCKET"})
"""Environment variables with our prefix that are no settings: the shim's client (C) reads this one."""
CLONE = Path(__file__).parents[3]
NO_FILE = Path("/nonexistent")
INSTALLED_ASSETS = Path("/usr/lib/kontinuum")
FRONT_PROXY = "front-proxy-client"
"""The common name of our certificate as a front proxy (kubeadm's own)."""


DEFAULT_DATA_DIR = Path("/var/lib/kontinuum")


def default_assets_dir() -> Path:
    """What ``make assets`` made, when we run from a clone."""
    return CLONE / "build" / "assets" if (CLONE / "pyproject.toml").exists() else INSTALLED_ASSETS


def _runtime() -> RuntimeSettings:
    return RuntimeSettings(assets_dir="", run_dir="", templates_dir="", images_dir="")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything an operator may decide. Paths are absolute, times are seconds, sizes are bytes."""

    data_dir: Path = DEFAULT_DATA_DIR
    """What survives a reboot: objects, certificates, images, logs. ``--data-dir`` sets it too."""
    assets_dir: str = ""
    """What ``make assets`` made: our static programs, the guest's kernel and agent, the first images. Empty:
    ``build/assets`` of the clone we run from, else ``/usr/lib/kontinuum``."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What the parts write into their logs."""
    api_address: str = ""
    """``https://HOST:PORT`` at which this machine's parts and the kubeconfig reach the API server. Empty: follows from
    ``server.listen``."""
    kubeconfig: Path | None = None
    """Another API server, whose client the controllers or the scheduler are: ``--kubeconfig``. Then they elect a leader
    (``elect``) and create no RuntimeClasses (``isolation_classes``) unless they are told otherwise, and what they sign
    and publish is only what they are told to."""
    context: str = ""
    """Which of the kubeconfig's contexts. Empty: its current one."""
    member_of: str = ""
    """``https://HOST:PORT`` of the API server whose cluster this machine has joined. ``kontinuum node --server`` writes
    it down in ``membership.json`` of the data directory. Empty: this machine has an API server of its own."""
    hosts: HostsSettings = msgspec.field(default_factory=HostsSettings)
    server: ServerSettings = msgspec.field(default_factory=ServerSettings)
    store: StoreSettings = msgspec.field(default_factory=StoreSettings)
    controllers: ControllersSettings = msgspec.field(default_factory=ControllersSettings)
    scheduler: SchedulerSettings = msgspec.field(default_factory=SchedulerSettings)
    node: NodeSettings = msgspec.field(default_factory=NodeSettings)
    runtime: RuntimeSettings = msgspec.field(default_factory=_runtime)

    @property
    def installation(self) -> Installation:
        return Installation.at(self.data_dir)


def load(
    *,
    data_dir: Path | None = None,
    listen: str = "",
    store: str = "",
    config: Path | None = None,
    kubeconfig: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environment: Mapping[str, str],
) -> Settings:
    """The settings as the command line, the environment and a settings file say. Raises SettingRefused."""
    overrides = {key: dict(value) if isinstance(value, Mapping) else value for key, value in (overrides or {}).items()}
    if kubeconfig is not None:
        overrides["kubeconfig"] = str(kubeconfig.absolute())
    if data_dir is not None:
        overrides["data_dir"] = str(data_dir.absolute())
    if listen:
        overrides["server"] = {"listen": listen}
    if store:
        overrides["store"] = {"address": store}
    told = data_dir or Path(environment.get("KONTINUUM_DATA_DIR") or DEFAULT_DATA_DIR)
    file = config or Installation.at(told).settings_file
    if kubeconfig is not None:
        file = config or NO_FILE  # what this machine's own installation is told is not about another's
    values = loading.gather(
        Settings,
        file=file if config is not None or file.exists() else None,
        environment=environment,
        overrides=overrides,
        not_settings=READ_ELSEWHERE,
    )
    if kubeconfig is None:
        values = loading.merged(membership.read(Installation.at(told)), values)
    return derived(from_plain(attached(values) if values.get("kubeconfig") else values))


HOST_PATH_CLASS = "host-path"
"""The StorageClass of a cluster of our own, unless it is told another."""


def attached(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with what is otherwise by default beside somebody else's API server."""
    return {
        **values,
        "controllers": {"elect": True, "isolation_classes": False, **values.get("controllers", {})},
        "scheduler": {"elect": True, **values.get("scheduler", {})},
    }


def from_plain(values: Mapping[str, Any]) -> Settings:
    """Settings from plain values; the runtime's paths may be left out. Raises SettingRefused."""
    runtime = {"assets_dir": "", "run_dir": "", "templates_dir": "", "images_dir": "", **values.get("runtime", {})}
    return loading.build(Settings, {**values, "runtime": runtime})


def _divisible(cluster: str, controllers: ControllersSettings) -> str:
    """``cluster``'s networks, unless one is too small to be divided among nodes: then it is one node's alone."""
    prefixes = {4: controllers.node_cidr_prefix_ipv4, 6: controllers.node_cidr_prefix_ipv6}
    networks = [ip_network(one.strip()) for one in cluster.split(",")]
    return cluster if all(one.prefixlen <= prefixes[one.version] for one in networks) else ""


def derived(settings: Settings) -> Settings:
    """``settings`` with every path and name filled in that follows from others and was left empty."""
    paths = Installation.at(settings.data_dir)
    assets = settings.assets_dir or str(default_assets_dir())
    node_name = settings.node.name or socket.gethostname().lower()
    gateway = settings.node.gateways[0]
    is_closed = _is_loopback(settings.server.listen) and not settings.member_of
    own_address = _own_address(settings, gateway if is_closed else "")
    if settings.hosts.count > 1:
        # On the wire that joins the hosts of this machine, and nowhere else.
        gateway = settings.hosts.address_of(1)
    server = replace(
        settings.server,
        certificate=settings.server.certificate or paths.pki / "server.crt",
        key=settings.server.key or paths.pki / "server.key",
        client_ca=settings.server.client_ca or paths.pki / "ca.crt",
        node_ca=settings.server.node_ca or paths.pki / "ca.crt",
        **_front_proxy(settings.server, paths),
        node_client_certificate=settings.server.node_client_certificate or paths.pki / "node-client.crt",
        node_client_key=settings.server.node_client_key or paths.pki / "node-client.key",
        service_account_key=settings.server.service_account_key or paths.pki / "sa.key",
        socket=settings.server.socket or paths.api_socket,
        socket_tokens=settings.server.socket_tokens or paths.api_tokens,
        pods_address=settings.server.pods_address or (gateway if is_closed else ""),
        advertise_address=settings.server.advertise_address or (gateway if is_closed else _told(settings, own_address)),
    )
    controllers = settings.controllers
    if settings.kubeconfig is None:
        controllers = replace(
            controllers,
            approve_hosts=controllers.approve_hosts is not False,
            host_path_class=HOST_PATH_CLASS if controllers.host_path_class is None else controllers.host_path_class,
            root_ca=controllers.root_ca or str(paths.pki / "ca.crt"),
            cluster_cidrs=controllers.cluster_cidrs or _divisible(settings.node.cluster_cidr, controllers),
            service_cidrs=controllers.service_cidrs or server.service_cidrs,
            service_account_key=controllers.service_account_key or str(server.service_account_key),
            signing_certificate=controllers.signing_certificate or str(paths.pki / "ca.crt"),
            signing_key=controllers.signing_key or str(paths.pki / "ca.key"),
        )
    node = replace(
        settings.node,
        data_dir=str(paths.data),
        run_dir=str(paths.run),
        name=node_name,
        address=own_address,
        service_cidrs=settings.node.service_cidrs or settings.server.service_cidrs,
        cluster_dns=settings.node.cluster_dns or _dns_service(settings),
        certificate=settings.node.certificate or str(paths.pki / "node-server.crt"),
        key=settings.node.key or str(paths.pki / "node-server.key"),
        client_ca=settings.node.client_ca or str(paths.pki / "ca.crt"),
        runsc=settings.node.runsc or str(find_program("runsc") or ""),
        runtime_config=settings.node.runtime_config or str(paths.runtime_config),
        shim_socket=settings.node.shim_socket or str(paths.shim_socket),
        assets_dir=settings.node.assets_dir or assets,
        warm_machines=settings.node.warm_machines or settings.runtime.warm_machines,
    )
    runtime = replace(
        settings.runtime,
        assets_dir=settings.runtime.assets_dir or assets,
        run_dir=settings.runtime.run_dir or str(paths.run),
        templates_dir=settings.runtime.templates_dir or str(paths.templates),
        images_dir=settings.runtime.images_dir or str(paths.data / "images"),
        log_file=settings.runtime.log_file or str(paths.logs / "shim.log"),
    )
    return replace(
        settings,
        data_dir=paths.data,
        assets_dir=assets,
        api_address=settings.api_address or settings.member_of or address_of(settings.server.listen),
        server=server,
        controllers=controllers,
        node=node,
        runtime=runtime,
    )


def _told(settings: Settings, own_address: str) -> str:
    """What pods are told of a server that listens at every address; "": the server knows it itself."""
    return own_address if split_listen(settings.server.listen)[0] in ("", "0.0.0.0", "::", "*") else ""


def _own_address(settings: Settings, gateway: str) -> str:
    """At which others reach this node. ``gateway``: its address towards its pods, where nobody else reaches it."""
    if settings.node.address:
        return settings.node.address
    if settings.hosts.count > 1:
        return settings.hosts.address_of(1)
    if settings.member_of:
        return source_address(settings.member_of) or default_address()
    # Where only this machine reaches the API server, only this machine and its pods need to reach the node.
    return gateway or default_address()


def joining_address(settings: Settings) -> str:
    """``https://HOST:PORT`` at which other machines reach this installation's API server; "" if they do not."""
    host, port = split_listen(settings.server.listen)
    if _is_loopback(settings.server.listen):
        host = settings.server.pods_address if settings.server.pods_address not in settings.node.gateways else ""
    elif host in ("", "0.0.0.0", "::", "*"):
        host = settings.server.advertise_address or settings.node.address
    if not host or not port:
        return ""
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def _front_proxy(server: ServerSettings, paths: Installation) -> dict[str, Any]:
    """Our own authority for front proxies, unless the operator has another; then our certificate is one of that's."""
    if server.front_proxy_ca is not None or server.proxy_client_certificate is not None:
        return {}
    own = paths.front_proxy
    return {
        "front_proxy_ca": own / "ca.crt",
        "front_proxy_names": server.front_proxy_names or (FRONT_PROXY,),
        "proxy_client_certificate": own / "client.crt",
        "proxy_client_key": own / "client.key",
    }


def address_of(listen: str) -> str:
    """How this machine itself reaches a server that listens at ``HOST:PORT``."""
    host, _, port = listen.rpartition(":")
    return f"https://{'127.0.0.1' if host in ('', '0.0.0.0', '[::]', '*') else host}:{port}"


def _is_loopback(listen: str) -> bool:
    return listen.rpartition(":")[0].strip("[]") in ("127.0.0.1", "::1", "localhost")


def _dns_service(settings: Settings) -> tuple[str, ...]:
    """The address of the Service ``kube-dns``: by convention the tenth, in each family of Services' addresses."""
    networks = split_networks(settings.node.service_cidrs or settings.server.service_cidrs)
    return tuple(nth_address(network, 10) for network in networks) if settings.node.dns else ()


def default_address() -> str:
    """Our address towards everybody else; loopback on a machine without a default route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket sends nothing: it only asks the routing table (192.0.2.0/24 is TEST-NET-1).
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        address: str = probe.getsockname()[0]
        return address


def source_address(server: str) -> str:
    """Our address towards the host of a URL; "" if there is no way to it now."""
    found = urlsplit(server)
    try:
        [(family, _, _, _, target), *_] = socket.getaddrinfo(found.hostname, found.port or 443, type=socket.SOCK_DGRAM)
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(target)  # Sends nothing, as above.
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def encode(settings: Settings) -> bytes:
    """The settings as JSON, for a part's standard input."""
    return msgspec.json.encode(loading.to_plain(settings))


def decode(document: bytes) -> Settings:
    """What ``encode`` wrote."""
    return from_plain(msgspec.json.decode(document))


def environment() -> Mapping[str, str]:
    return os.environ
