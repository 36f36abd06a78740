"""What the cluster's names mean: Services and their endpoints as DNS records. Pure, kept up to date by ``put``.

https://github.com/kubernetes/dns/blob/master/docs/specification.md, version 1.1.0; what that leaves open is answered as
CoreDNS does, because that is what programs have been tried with.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from kontinuum.api.machinery.objects import Object, name_of, namespace_of
from kontinuum.foundation.addresses import canonical

VERSION = "1.1.0"
Labels = tuple[str, ...]
"""A name in lower case without its last, empty label: ``("web", "default", "svc", "cluster", "local")``."""
Key = tuple[str, str]
"""Namespace and name of a Service."""
Port = tuple[str, str, int]
"""Name in lower case, protocol and number."""


@dataclass(frozen=True, slots=True)
class Address:
    """An A or AAAA record, by the family of ``ip``."""

    name: Labels
    ip: str

    @property
    def type(self) -> str:
        return "AAAA" if ":" in self.ip else "A"


@dataclass(frozen=True, slots=True)
class Location:
    """An SRV record."""

    name: Labels
    port: int
    target: Labels
    type: str = "SRV"


@dataclass(frozen=True, slots=True)
class Pointer:
    """A PTR record."""

    name: Labels
    target: Labels
    type: str = "PTR"


@dataclass(frozen=True, slots=True)
class Text:
    """A TXT record."""

    name: Labels
    text: str
    type: str = "TXT"


Record = Address | Location | Pointer | Text


@dataclass(frozen=True, slots=True)
class Found:
    """The name exists. No ``records``: but not with this type."""

    records: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True)
class Alias:
    """The name is another name for ``target``, whatever type is asked for."""

    target: Labels


@dataclass(frozen=True, slots=True)
class Absent:
    """The name is ours to know, and does not exist."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Somebody else must be asked."""


Answer = Found | Alias | Absent | Elsewhere
NOTHING = Found()


@dataclass(frozen=True, slots=True)
class _Endpoint:
    ip: str
    hostname: str
    ports: tuple[Port, ...]

    @property
    def label(self) -> str:
        """Its name below its Service's: as the pod wants, else made of the address."""
        return self.hostname or self.ip.replace(".", "-").replace(":", "-")


@dataclass(frozen=True, slots=True)
class _Service:
    ips: tuple[str, ...]
    """Empty: headless, or another name."""
    alias: str
    ports: tuple[Port, ...]


@dataclass(slots=True)
class _Entry:
    service: _Service | None = None
    slices: dict[str, tuple[_Endpoint, ...]] = field(default_factory=dict)

    @property
    def is_headless(self) -> bool:
        return self.service is not None and not self.service.ips and not self.service.alias

    def endpoints(self) -> Iterator[_Endpoint]:
        """Each once; an endpoint's ports may be spread over several slices."""
        return (endpoint for endpoints in self.slices.values() for endpoint in endpoints)


class Zone:
    """The names below one domain, and the addresses that belong to them."""

    def __init__(self, domain: str, networks: Sequence[str]) -> None:
        """``networks`` are the cluster's, pods' and Services': nobody else is asked about their addresses."""
        self.domain: Labels = tuple(domain.lower().strip(".").split("."))
        self._networks = [ipaddress.ip_network(one) for one in networks]
        self._entries: dict[Key, _Entry] = {}
        self._namespaces: set[str] = set()
        self._owners: dict[str, dict[Key, int]] = {}
        """Which Services an address belongs to, and by how many of their objects."""

    # -- what is known

    def put_namespace(self, name: str) -> None:
        self._namespaces.add(name)

    def remove_namespace(self, name: str) -> None:
        self._namespaces.discard(name)

    def put_service(self, service: Object) -> None:
        key = (namespace_of(service), name_of(service))
        entry = self._entries.setdefault(key, _Entry())
        before, entry.service = entry.service, _service(service)
        if before is not None:
            self._disown(key, before.ips)
        self._own(key, entry.service.ips)

    def remove_service(self, namespace: str, name: str) -> None:
        entry = self._entries.get((namespace, name))
        if entry is None or entry.service is None:
            return
        self._disown((namespace, name), entry.service.ips)
        entry.service = None
        self._drop_if_empty((namespace, name))

    def put_slice(self, namespace: str, service: str, endpoint_slice: Object) -> None:
        """``endpoint_slice`` tells of endpoints of ``service``."""
        self.remove_slice(namespace, service, name_of(endpoint_slice))
        endpoints = _endpoints(endpoint_slice)
        self._entries.setdefault((namespace, service), _Entry()).slices[name_of(endpoint_slice)] = endpoints
        self._own((namespace, service), [one.ip for one in endpoints])

    def remove_slice(self, namespace: str, service: str, name: str) -> None:
        entry = self._entries.get((namespace, service))
        if entry is not None and name in entry.slices:
            self._disown((namespace, service), [one.ip for one in entry.slices.pop(name)])
            self._drop_if_empty((namespace, service))

    def _own(self, key: Key, ips: Sequence[str]) -> None:
        for ip in ips:
            owners = self._owners.setdefault(ip, {})
            owners[key] = owners.get(key, 0) + 1

    def _disown(self, key: Key, ips: Sequence[str]) -> None:
        for ip in ips:
            owners = self._owners[ip]
            owners[key] -= 1
            if not owners[key]:
                del owners[key]
            if not owners:
                del self._owners[ip]

    def _drop_if_empty(self, key: Key) -> None:
        entry = self._entries[key]
        if entry.service is None and not entry.slices:
            del self._entries[key]

    # -- what is answered

    def answer(self, name: Labels, kind: str) -> Answer:
        """What there is to say about ``name``, in lower case, when records of type ``kind`` (``A``, ...) are wanted."""
        if name[-2:] in (("in-addr", "arpa"), ("ip6", "arpa")):
            return self._reverse(name, kind)
        size = len(self.domain)
        if name[-size:] != self.domain:
            return Elsewhere()
        match name[:-size]:
            case () | ("svc",) | ("pod",):
                return NOTHING
            case ("dns-version",):
                return _only(kind, [Text(name, VERSION)])
            case (*inner, "svc"):
                return self._in_svc(name, tuple(inner), kind)
            case (*inner, "pod"):
                return self._in_pod(name, tuple(inner), kind)
        return Absent()

    def _in_svc(self, name: Labels, inner: Labels, kind: str) -> Answer:
        if len(inner) == 1:
            return NOTHING if inner[0] in self._namespaces else Absent()
        entry = self._entries.get((inner[-1], inner[-2]))
        if entry is None or entry.service is None:
            return Absent()
        if entry.service.alias:
            return Alias(_labels(entry.service.alias)) if len(inner) == 2 else Absent()
        own = name[-(len(self.domain) + 3) :]
        match inner[:-2]:
            case ():
                return self._service(entry, own, kind)
            case ("_tcp" | "_udp" | "_sctp",):
                return NOTHING
            case (label,):
                # Of a Service with an address of its own too, as of CoreDNS: a StatefulSet's may be one.
                ips = [one.ip for one in entry.endpoints() if one.label == label]
                return _only(kind, [Address(name, ip) for ip in dict.fromkeys(ips)]) if ips else Absent()
            case (port, protocol) if port.startswith("_") and protocol.startswith("_"):
                located = list(self._located(entry, own, name, (port[1:], protocol[1:].upper())))
                return self._with_targets(located, entry, own, kind) if located else Absent()
        return Absent()

    def _in_pod(self, name: Labels, inner: Labels, kind: str) -> Answer:
        """Any address below any namespace that there is: whether a pod has it is not looked at (``pods insecure``)."""
        if len(inner) > 2 or inner[-1] not in self._namespaces:
            return Absent()
        if len(inner) == 1:
            return NOTHING
        ip = _undashed(inner[0])
        return _only(kind, [Address(name, ip)]) if ip else Absent()

    def _service(self, entry: _Entry, own: Labels, kind: str) -> Answer:
        assert entry.service is not None
        if entry.is_headless and not any(entry.endpoints()):
            # Section 2.4.1: so that clients ask again, whatever they believe of a name without addresses.
            return Absent()
        if kind == "SRV":
            return self._with_targets(list(self._located(entry, own, own, None)), entry, own, kind)
        ips = [one.ip for one in entry.endpoints()] if entry.is_headless else entry.service.ips
        return _only(kind, [Address(own, ip) for ip in dict.fromkeys(ips)])

    def _located(self, entry: _Entry, own: Labels, name: Labels, wanted: tuple[str, str] | None) -> Iterator[Location]:
        """Where the ports are served; ``wanted`` is name and protocol of one port, None means every named one."""
        assert entry.service is not None

        def is_wanted(port: Port) -> bool:
            return bool(port[0]) if wanted is None else port[:2] == wanted

        if not entry.is_headless:
            yield from (Location(name, port[2], own) for port in entry.service.ports if is_wanted(port))
            return
        yield from dict.fromkeys(
            Location(name, port[2], (one.label, *own))
            for one in entry.endpoints()
            for port in one.ports
            if is_wanted(port)
        )

    def _with_targets(self, located: Sequence[Location], entry: _Entry, own: Labels, kind: str) -> Found:
        """SRV records, and the addresses of their targets to spare a second question."""
        assert entry.service is not None
        if kind != "SRV":
            return NOTHING
        if not entry.is_headless:
            return Found(tuple(located), tuple(Address(own, ip) for ip in entry.service.ips))
        targets = {one.target for one in located}
        every = dict.fromkeys(Address((one.label, *own), one.ip) for one in entry.endpoints())
        return Found(tuple(located), tuple(one for one in every if one.name in targets))

    def _reverse(self, name: Labels, kind: str) -> Answer:
        ip = _reversed(name)
        if ip is None:
            return Elsewhere()
        targets: set[Labels] = set()
        for namespace, service in self._owners.get(ip, ()):
            entry, own = self._entries[(namespace, service)], (service, namespace, "svc", *self.domain)
            if entry.service is not None and ip in entry.service.ips:
                targets.add(own)
            elif entry.service is not None and not entry.service.alias:
                targets |= {(one.label, *own) for one in entry.endpoints() if one.ip == ip}
        if targets:
            return _only(kind, [Pointer(name, target) for target in sorted(targets)])
        address = ipaddress.ip_address(ip)
        is_ours = any(address.version == one.version and address in one for one in self._networks)
        return Absent() if is_ours else Elsewhere()


def _only(kind: str, records: Sequence[Record]) -> Found:
    return Found(tuple(one for one in records if one.type == kind))


def _undashed(text: str) -> str:
    for separator in (".", ":"):
        try:
            return str(ipaddress.ip_address(text.replace("-", separator)))
        except ValueError:
            continue
    return ""


def _reversed(name: Labels) -> str | None:
    """The address that a name below in-addr.arpa or ip6.arpa stands for; None if it is not a whole one."""
    digits = name[:-2][::-1]
    try:
        if name[-2] == "in-addr":
            return str(ipaddress.IPv4Address(".".join(digits)))
        if len(digits) != 32 or any(len(one) != 1 for one in digits):
            return None
        return str(ipaddress.IPv6Address(int("".join(digits), 16)))
    except ValueError:
        return None


def _labels(name: str) -> Labels:
    return tuple(name.lower().rstrip(".").split("."))


def _service(service: Object) -> _Service:
    spec = service.get("spec") or {}
    alias = (spec.get("externalName") or "") if spec.get("type") == "ExternalName" else ""
    told = spec.get("clusterIPs") or [spec.get("clusterIP")]
    ips = () if alias else tuple(str(ipaddress.ip_address(one)) for one in told if one not in (None, "", "None"))
    return _Service(ips, alias, _ports(spec))


def _endpoints(endpoint_slice: Object) -> tuple[_Endpoint, ...]:
    """Those that are ready: of a Service that publishes others too, the slice says that they are."""
    if endpoint_slice.get("addressType") not in ("IPv4", "IPv6"):
        return ()
    ports = _ports(endpoint_slice)
    return tuple(
        _Endpoint(canonical(ip), (one.get("hostname") or "").lower(), ports)
        for one in endpoint_slice.get("endpoints") or ()
        if (one.get("conditions") or {}).get("ready") is not False
        for ip in one["addresses"]
    )


def _ports(owner: Object) -> tuple[Port, ...]:
    return tuple(
        ((one.get("name") or "").lower(), one.get("protocol") or "TCP", int(one["port"]))
        for one in owner.get("ports") or ()
        if one.get("port")
    )
