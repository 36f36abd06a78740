"""What a pod asks of a node: one reading of its spec, made once and used by every filter and score.

Amounts are integers: millicores of cpu, bytes of memory and storage, whole units of everything else. Every pod also
asks for one of ``pods``, the node's pod slots.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Protocol

import orjson

from kontinuum.api.machinery.objects import Object, labels_of, namespace_of
from kontinuum.scheduler.amounts import ASSUMED, CPU, MEMORY, PODS, Amounts, pod_requests
from kontinuum.scheduler.storage.wishes import NOTHING, Wishes, read_wishes
from kontinuum.scheduler.terms import PodTerm, Spread, read_spreads, read_terms

__all__ = ["CPU", "MEMORY", "PODS", "Amounts", "Demand", "Expression", "HostPort", "Term", "Toleration", "read_demand"]

SPREADING_CONTROLLERS = {"ReplicaSet": "apps/v1", "StatefulSet": "apps/v1", "ReplicationController": "v1"}
"""Kinds whose selectors say which pods belong together, for default spreading."""


@dataclass(frozen=True, slots=True)
class Toleration:
    """``core/v1 Toleration``; an empty ``key`` with Exists tolerates everything, an empty ``effect`` every effect."""

    key: str
    operator: str
    value: str
    effect: str

    def tolerates(self, key: str, value: str, effect: str) -> bool:
        """Operators Gt and Lt tolerate nothing: they are alpha, and off, in Kubernetes 1.36 (KEP-5471)."""
        if self.effect and self.effect != effect:
            return False
        if self.key and self.key != key:
            return False
        return self.operator == "Exists" or (self.operator == "Equal" and self.value == value)


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


class Mark:
    """All that a pod is to others once it is on a node: pods with equal marks weigh the same there. Hashed once."""

    __slots__ = ("_hash", "_parts")

    def __init__(self, parts: tuple[Hashable, ...]) -> None:
        self._parts = parts
        self._hash = hash(parts)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mark) and self._parts == other._parts


class Asked(Protocol):
    """The amounts of a demand; see there."""

    @property
    def requests(self) -> Amounts: ...

    @property
    def compared(self) -> Amounts: ...


@dataclass(frozen=True)
class Demand:
    """See the module. Equal demands fit the same nodes equally well: what is known of one holds for the other."""

    requests: Amounts
    """What the node's allocatable must hold; includes overhead and one of ``pods``, no zeros."""
    compared: Amounts
    """The same as some scores see it: containers that ask for no cpu or memory are thought to use a little."""
    node_name: str
    selector: tuple[tuple[str, str], ...]
    required: tuple[Term, ...] | None
    """Any of them; None: no required node affinity."""
    preferred: tuple[tuple[int, Term], ...]
    tolerations: tuple[Toleration, ...]
    host_ports: tuple[HostPort, ...]
    preempts: bool
    """False for ``preemptionPolicy: Never``."""
    namespace: str
    labels: dict[str, str]
    going: bool
    """It is being deleted; spreading does not count it any more."""
    controller: tuple[str, str] | None
    """Kind and name of what made it, if that is known to spread its pods by default."""
    terms: tuple[PodTerm, ...]
    """Inter-pod affinity and anti-affinity."""
    spreads: tuple[Spread, ...]
    """Its own; if there are none, the cluster's default spreading applies."""
    images: tuple[str, ...]
    """Of its containers, init containers and image volumes; with their tag, one entry each."""
    wishes: Wishes = NOTHING
    """Of its volumes."""

    def __hash__(self) -> int:
        return hash(self._key)

    @cached_property
    def _key(self) -> Mark:
        return Mark((self.mark, self.node_name, self.selector, self.required, self.tolerations, self.images))

    @cached_property
    def asked(self) -> Hashable:
        """Equal for demands for the same amounts."""
        return tuple(self.requests.items()), tuple(self.compared.items())

    @cached_property
    def mark(self) -> Mark:
        return Mark(
            (
                self.asked,
                self.host_ports,
                self.namespace,
                tuple(sorted(self.labels.items())),
                self.going,
                self.terms,
                self.wishes,
            )
        )


def read_demand(pod: Object) -> Demand:
    """The demand of a pod as the API server stores it.

    Pods with the same object as their demand are alike in everything that their spec says (who is to schedule them and
    how important they are, too), but for the node that they are on.
    """
    spec, metadata, status = pod["spec"], pod["metadata"], pod.get("status") or {}
    if spec.get("volumes"):
        return _read(pod)  # no other pod has the same claims of its own
    node = spec.get("nodeName")
    essence: Object = {
        "metadata": {field: metadata[field] for field in OF_METADATA if field in metadata},
        "spec": {**spec, "nodeName": ""} if node else spec,
        "status": {field: status[field] for field in OF_STATUS if field in status},
    }
    if "deletionTimestamp" in metadata:
        essence["metadata"]["deletionTimestamp"] = ""
    if essence["status"]:
        essence["status"]["conditions"] = status.get("conditions")
    demand = _read_text(orjson.dumps(essence))
    return _on_node(demand, node) if node else demand


OF_METADATA = ("namespace", "labels", "ownerReferences")
OF_STATUS = ("containerStatuses", "initContainerStatuses", "allocatedResources", "resources")
"""What ``_read`` reads beside the spec."""


@lru_cache(maxsize=1024)
def _read_text(essence: bytes) -> Demand:
    """Reading takes ten times as long as writing and looking it up, and most pods come in sets of like ones."""
    return _read(orjson.loads(essence))


def _on_node(demand: Demand, node: str) -> Demand:
    there = replace(demand, node_name=node)
    vars(there)["mark"] = demand.mark  # the same: the node is no part of it, and it takes long to make
    return there


def _read(pod: Object) -> Demand:
    spec, metadata = pod["spec"], pod["metadata"]
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    return Demand(
        requests={name: amount for name, amount in {**pod_requests(pod), PODS: 1}.items() if amount},
        compared=pod_requests(pod, assumed=ASSUMED),
        node_name=spec.get("nodeName") or "",
        selector=tuple(sorted((spec.get("nodeSelector") or {}).items())),
        required=None if required is None else tuple(_term(one) for one in required.get("nodeSelectorTerms") or ()),
        preferred=tuple((one["weight"], _term(one.get("preference") or {})) for one in preferred),
        tolerations=tuple(_toleration(one) for one in spec.get("tolerations") or ()),
        host_ports=tuple(_host_ports(spec)),
        preempts=spec.get("preemptionPolicy") != "Never",
        namespace=namespace_of(pod),
        labels=labels_of(pod),
        going="deletionTimestamp" in metadata,
        controller=_controller(metadata),
        terms=read_terms(pod),
        spreads=read_spreads(pod),
        images=tuple(_images(spec)),
        wishes=read_wishes(pod),
    )


def _controller(metadata: Object) -> tuple[str, str] | None:
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller") and SPREADING_CONTROLLERS.get(owner["kind"]) == owner["apiVersion"]:
            return owner["kind"], owner["name"]
    return None


def _images(spec: Object) -> Iterable[str]:
    for field in ("initContainers", "containers"):
        for container in spec.get(field) or ():
            if image := container.get("image"):
                yield tagged(image)
    for volume in spec.get("volumes") or ():
        if reference := (volume.get("image") or {}).get("reference"):
            yield tagged(reference)


def tagged(image: str) -> str:
    """An image's name as nodes report it: with a tag. Kubernetes compares no further (registry, digest)."""
    return image if image.rfind(":") > image.rfind("/") else f"{image}:latest"


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
