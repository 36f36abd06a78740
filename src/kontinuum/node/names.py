"""DNS, host names and /etc/hosts of a pod. Pure, but for the reading of the host's resolver."""

from __future__ import annotations

from pathlib import Path

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.errors import Refused
from kontinuum.node import pods
from kontinuum.node.port import Config
from kontinuum.node.settings import NodeSettings

HOST_RESOLVER = Path("/etc/resolv.conf")
LONGEST_HOST_NAME, LONGEST_KERNEL_NAME = 63, 64
MOST_SEARCHES, LONGEST_SEARCHES = 32, 2048
"""Search paths, and characters of all of them with the spaces in between."""
MOST_SERVERS = 3


class NameTooLong(Refused):
    """The kernel takes no host name of this length."""


def hostname(pod: Object) -> str:
    """``spec.hostnameOverride``, ``spec.hostname``, or the pod's name cut to what a host name may be long."""
    if override := pod["spec"].get("hostnameOverride"):
        return str(override)
    name: str = pod["spec"].get("hostname") or pod["metadata"]["name"]
    return name[:LONGEST_HOST_NAME].rstrip("-.")


def full_name(pod: Object, domain: str) -> str:
    """The name under which the cluster's DNS knows a pod that has a ``subdomain``; "" for any other."""
    spec = pod["spec"]
    if not spec.get("subdomain") or spec.get("hostnameOverride"):
        return ""
    return f"{hostname(pod)}.{spec['subdomain']}.{pod['metadata']['namespace']}.svc.{domain}"


def kernel_name(pod: Object, domain: str) -> str:
    """What ``hostname`` prints in the pod. Raises NameTooLong, in the kubelet's words."""
    full = full_name(pod, domain) if pod["spec"].get("setHostnameAsFQDN") else ""
    if len(full) > LONGEST_KERNEL_NAME:
        raise NameTooLong(
            f"Failed to construct FQDN from Pod hostname and cluster domain, FQDN {full} is too long "
            f"({LONGEST_KERNEL_NAME} characters is the max, {len(full)} characters requested)"
        )
    return full or hostname(pod)


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
    """The CRI's DNSConfig by ``dnsPolicy`` and ``dnsConfig``, as much as libc takes; ``host`` is the node's own."""
    return _fitting(_dns_wished(pod, settings, host))


def dns_omissions(pod: Object, settings: NodeSettings, host: Config) -> list[str]:
    """What ``dns_config`` has left out, in the kubelet's words."""
    wished = _dns_wished(pod, settings, host)
    applied = _fitting(wished)
    parts = (
        ("servers", "Nameserver", "nameservers", "nameserver"),
        ("searches", "Search Line", "search paths", "search"),
    )
    return [
        f"{title} limits were exceeded, some {some} have been omitted, the applied {line} line is: "
        + " ".join(applied[part])
        for part, title, some, line in parts
        if applied[part] != wished[part]
    ]


def _dns_wished(pod: Object, settings: NodeSettings, host: Config) -> Config:
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
    # Those of the policy come first: a resolver asks the others only when these do not answer.
    return {
        "servers": list(dict.fromkeys([*config["servers"], *(own.get("nameservers") or ())])),
        "searches": list(dict.fromkeys([*config["searches"], *(own.get("searches") or ())])),
        "options": list(options.values()),
    }


def _fitting(wished: Config) -> Config:
    searches = wished["searches"][:MOST_SEARCHES]
    while len(" ".join(searches)) > LONGEST_SEARCHES:
        searches = searches[:-1]
    return {**wished, "servers": wished["servers"][:MOST_SERVERS], "searches": searches}


def hosts_file(pod: Object, ips: tuple[str, ...], domain: str) -> str:
    """The pod's /etc/hosts, managed as the kubelet manages it."""
    names = [name for name in (full_name(pod, domain), hostname(pod)) if name]
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
    aliases = pod["spec"].get("hostAliases") or ()
    if aliases:
        lines += ["", "# Entries added by HostAliases."]
    for alias in aliases:
        lines.append("\t".join((alias["ip"], *(alias.get("hostnames") or ()))))
    return "\n".join(lines) + "\n"
