"""DNS, host names and /etc/hosts of a pod. Pure, but for the reading of the host's resolver."""

from __future__ import annotations

from pathlib import Path

from kontinuum.api.machinery.objects import Object
from kontinuum.node import pods
from kontinuum.node.port import Config
from kontinuum.node.settings import NodeSettings

HOST_RESOLVER = Path("/etc/resolv.conf")
LONGEST_HOST_NAME = 63
MOST_SEARCHES = 32
MOST_SERVERS = 3


def hostname(pod: Object) -> str:
    """``spec.hostname``, else the pod's name cut to what a host name may be long."""
    name: str = pod["spec"].get("hostname") or pod["metadata"]["name"]
    return name[:LONGEST_HOST_NAME].rstrip("-.")


def parse_resolver(text: str) -> Config:
    """``resolv.conf`` as the CRI's DNSConfig."""
    config: Config = {"servers": [], "searches": [], "options": []}
    for line in text.splitlines():
        match line.split():
            case ["nameserver", server, *_]:
                config["servers"].append(server)
            case ["search" | "domain", *searches]:
                config["searches"] = searches
            case ["options", *options]:
                config["options"] = options
    return config


def dns_config(pod: Object, settings: NodeSettings, host: Config) -> Config:
    """The CRI's DNSConfig by ``dnsPolicy`` and ``dnsConfig``; ``host`` is the node's own."""
    policy = pod["spec"].get("dnsPolicy") or "ClusterFirst"
    if policy == "ClusterFirst" and pods.is_host_network(pod):
        policy = "Default"
    if policy == "None":
        config: Config = {"servers": [], "searches": [], "options": []}
    elif policy.startswith("ClusterFirst") and settings.cluster_dns:
        namespace, domain = pod["metadata"]["namespace"], settings.cluster_domain
        ours = [f"{namespace}.svc.{domain}", f"svc.{domain}", domain]
        config = {"servers": list(settings.cluster_dns), "searches": ours + host["searches"], "options": ["ndots:5"]}
    else:
        config = {key: list(host[key]) for key in ("servers", "searches", "options")}
    return _with_own(config, pod["spec"].get("dnsConfig") or {})


def _with_own(config: Config, own: Object) -> Config:
    options = {option.partition(":")[0]: option for option in config["options"]}
    for option in own.get("options") or ():
        value = option.get("value")
        options[option["name"]] = f"{option['name']}:{value}" if value is not None else option["name"]
    return {
        "servers": list(dict.fromkeys([*(own.get("nameservers") or ()), *config["servers"]]))[:MOST_SERVERS],
        "searches": list(dict.fromkeys([*config["searches"], *(own.get("searches") or ())]))[:MOST_SEARCHES],
        "options": list(options.values()),
    }


def hosts_file(pod: Object, ips: tuple[str, ...], domain: str) -> str:
    """The pod's /etc/hosts, managed as the kubelet manages it."""
    name = hostname(pod)
    subdomain = pod["spec"].get("subdomain")
    names = [f"{name}.{subdomain}.{pod['metadata']['namespace']}.svc.{domain}", name] if subdomain else [name]
    lines = [
        "# Kubernetes-managed hosts file.",
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::0\tip6-localnet",
        "fe00::0\tip6-mcastprefix",
        "fe00::1\tip6-allnodes",
        "fe00::2\tip6-allrouters",
    ]
    lines += ["\t".join((ip, *names)) for ip in ips]
    for alias in pod["spec"].get("hostAliases") or ():
        lines.append("\t".join((alias["ip"], *(alias.get("hostnames") or ()))))
    return "\n".join(lines) + "\n"
