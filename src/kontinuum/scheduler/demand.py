"""What a pod asks of a node: one reading of its spec, made once and used by every filter and score.

Amounts are integers: millicores of cpu, bytes of memory and storage, whole units of everything else. Every pod also
asks for one of ``pods``, the node's pod slots.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object

CPU, MEMORY, PODS = "cpu", "memory", "pods"

LARGEST = 2**60
"""Larger amounts count as this: sums of a node's pods must stay within 64 bits."""

ASSUMED = {CPU: 100, MEMORY: 200 << 20}
"""What a container that asks for nothing is thought to use when nodes are compared (Kubernetes' non-zero requests)."""

Amounts = dict[str, int]


@dataclass(frozen=True, slots=True)
class Toleration:
    """``core/v1 Toleration``; an empty ``key`` with Exists tolerates everything, an empty ``effect`` every effect."""

    key: str
    operator: str
    value: str
    effect: str

    def tolerates(self, key: str, value: str, effect: str) -> bool:
        if self.effect and self.effect != effect:
            return False
        if self.key and self.key != key:
            return False
        return self.operator == "Exists" or self.value == value


@dataclass(frozen=True, slots=True)
class Expression:
    """One ``matchExpressions`` entry of a node selector."""

    key: str
    operator: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Term:
    """A node selector term: all of it must match. An empty one matches nothing."""

    labels: tuple[Expression, ...]
    fields: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port that a container takes on the node itself; address "" or 0.0.0.0 means all addresses."""

    protocol: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Demand:
    """See the module."""

    requests: Amounts
    """What the node's allocatable must hold; includes overhead and one of ``pods``, no zeros."""
    compared: Amounts
    """cpu and memory as the scores see them."""
    node_name: str
    selector: tuple[tuple[str, str], ...]
    required: tuple[Term, ...] | None
    """Any of them; None: no required node affinity."""
    preferred: tuple[tuple[int, Term], ...]
    tolerations: tuple[Toleration, ...]
    host_ports: tuple[HostPort, ...]
    preempts: bool
    """False for ``preemptionPolicy: Never``."""


def read_demand(pod: Object) -> Demand:
    """The demand of a pod as the API server stores it."""
    spec = pod["spec"]
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    return Demand(
        requests={name: amount for name, amount in {**pod_requests(spec), PODS: 1}.items() if amount},
        compared=pod_requests(spec, assumed=ASSUMED),
        node_name=spec.get("nodeName") or "",
        selector=tuple(sorted((spec.get("nodeSelector") or {}).items())),
        required=None if required is None else tuple(_term(one) for one in required.get("nodeSelectorTerms") or ()),
        preferred=tuple((one["weight"], _term(one.get("preference") or {})) for one in preferred),
        tolerations=tuple(_toleration(one) for one in spec.get("tolerations") or ()),
        host_ports=tuple(_host_ports(spec)),
        preempts=spec.get("preemptionPolicy") != "Never",
    )


def pod_requests(spec: Object, *, assumed: Amounts | None = None) -> Amounts:
    """What the whole pod asks for. With ``assumed``, containers that say nothing of a resource ask for that.

    Kubernetes' rule (component-helpers ``resource.PodRequests``): containers and sidecars run together and add up;
    an ordinary init container runs alone beside the sidecars before it; the greater of the two counts. Requests of the
    pod as a whole replace that for the resources they name. The overhead of the RuntimeClass comes on top.
    """
    running: Amounts = {}
    for container in spec.get("containers") or ():
        _add(running, _requests(container, assumed))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        beside = dict(sidecars)
        _add(beside, _requests(container, assumed))
        if container.get("restartPolicy") == "Always":
            sidecars = beside
        _raise_to(peak, beside)
    _add(running, sidecars)
    _raise_to(running, peak)
    running.update(_requests(spec, None))
    _add(running, _amounts(spec.get("overhead")))
    return running


def allocatable(node: Object) -> Amounts:
    """What a node has to give."""
    return _amounts((node.get("status") or {}).get("allocatable"))


def _requests(container: Object, assumed: Amounts | None) -> Amounts:
    asked = _amounts((container.get("resources") or {}).get("requests"))
    return {**assumed, **asked} if assumed else asked


def _amounts(quantities: dict[str, Any] | None) -> Amounts:
    return {
        name: min(LARGEST, quantity.milli(text) if name == CPU else quantity.value(text))
        for name, text in (quantities or {}).items()
    }


def _add(total: Amounts, more: Amounts) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _raise_to(total: Amounts, least: Amounts) -> None:
    for name, amount in least.items():
        total[name] = max(total.get(name, 0), amount)


def _term(term: Object) -> Term:
    return Term(_expressions(term.get("matchExpressions")), _expressions(term.get("matchFields")))


def _expressions(entries: Iterable[Object] | None) -> tuple[Expression, ...]:
    return tuple(Expression(one["key"], one["operator"], tuple(one.get("values") or ())) for one in entries or ())


def _toleration(toleration: Object) -> Toleration:
    return Toleration(
        key=toleration.get("key") or "",
        operator=toleration.get("operator") or "Equal",
        value=toleration.get("value") or "",
        effect=toleration.get("effect") or "",
    )


def _host_ports(spec: Object) -> Iterable[HostPort]:
    sidecars = [one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"]
    for container in [*(spec.get("containers") or ()), *sidecars]:
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                yield HostPort(port.get("protocol") or "TCP", port.get("hostIP") or "", port["hostPort"])
