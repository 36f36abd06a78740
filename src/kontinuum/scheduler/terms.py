"""What a pod says of other pods: near whom it wants to be, from whom away, and among whom it wants to be spread.

Kubernetes' rules: core/v1 ``PodAffinityTerm`` and ``TopologySpreadConstraint``, KEP-3633 (matchLabelKeys of affinity),
KEP-3243 (of spreading), KEP-3094 (which nodes count), KEP-3022 (minDomains).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from kontinuum.api.machinery.objects import Object, labels_of, namespace_of
from kontinuum.api.machinery.selectors import NOTHING, LabelSelector, Requirement, from_object

HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"


@dataclass(frozen=True)
class Selection:
    """Some pods: those in one of the namespaces, named or selected by their labels, that the selector matches."""

    namespaces: frozenset[str]
    selector: LabelSelector
    namespace_selector: LabelSelector = NOTHING
    going: bool = True
    """Whether pods that are being deleted count; spreading looks past them."""

    def matches(self, namespace: str, namespace_labels: Mapping[str, str], labels: Mapping[str, str]) -> bool:
        if namespace not in self.namespaces and not self.namespace_selector.matches(namespace_labels):
            return False
        return self.selector.matches(labels)


class Role(Enum):
    """What a term of a pod does to other pods, or to itself."""

    REQUIRED = "required by podAffinity"
    FORBIDDEN = "required by podAntiAffinity"
    PREFERRED = "preferred by podAffinity or, with a negative weight, by podAntiAffinity"


@dataclass(frozen=True)
class PodTerm:
    """One term: ``pods``, in the same domain of the topology ``key``."""

    role: Role
    key: str
    pods: Selection
    weight: int = 0
    """Of a preferred term; negative if the pods are to be avoided."""


@dataclass(frozen=True)
class Spread:
    """One ``topologySpreadConstraints`` entry; see there."""

    key: str
    hard: bool
    maximum_skew: int
    pods: Selection
    itself: bool
    """Whether the pod counts among those that are spread."""
    minimum_domains: int = 1
    honour_affinity: bool = True
    honour_taints: bool = False


def read_terms(pod: Object) -> tuple[PodTerm, ...]:
    affinity = pod["spec"].get("affinity")
    if not affinity:
        return ()
    near, away = affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}
    required, preferred = (f"{word}DuringSchedulingIgnoredDuringExecution" for word in ("required", "preferred"))
    return (
        *(_term(pod, Role.REQUIRED, one) for one in near.get(required) or ()),
        *(_term(pod, Role.FORBIDDEN, one) for one in away.get(required) or ()),
        *(_term(pod, Role.PREFERRED, one["podAffinityTerm"], one["weight"]) for one in near.get(preferred) or ()),
        *(_term(pod, Role.PREFERRED, one["podAffinityTerm"], -one["weight"]) for one in away.get(preferred) or ()),
    )


def read_spreads(pod: Object) -> tuple[Spread, ...]:
    return tuple(_spread(pod, one) for one in pod["spec"].get("topologySpreadConstraints") or ())


def default_spreads(namespace: str, labels: Mapping[str, str], selector: LabelSelector) -> tuple[Spread, ...]:
    """What Kubernetes (``defaultingType: System``) wants for a pod that says nothing: a workload not all in one place.

    ``selector``: the pods of the same Services and the same controller.
    """
    pods = Selection(frozenset({namespace}), selector, going=False)
    itself = selector.matches(labels)
    return (
        Spread(HOSTNAME, hard=False, maximum_skew=3, pods=pods, itself=itself),
        Spread(ZONE, hard=False, maximum_skew=5, pods=pods, itself=itself),
    )


def _term(pod: Object, role: Role, term: Object, weight: int = 0) -> PodTerm:
    named, selected = term.get("namespaces") or (), term.get("namespaceSelector")
    if not named and selected is None:
        named = (namespace_of(pod),)
    selector = _with_keys(from_object(term.get("labelSelector")), pod, term.get("matchLabelKeys"), "in")
    selector = _with_keys(selector, pod, term.get("mismatchLabelKeys"), "notin")
    return PodTerm(role, term["topologyKey"], Selection(frozenset(named), selector, from_object(selected)), weight)


def _spread(pod: Object, constraint: Object) -> Spread:
    selector = _with_keys(from_object(constraint.get("labelSelector")), pod, constraint.get("matchLabelKeys"), "in")
    return Spread(
        key=constraint["topologyKey"],
        hard=constraint["whenUnsatisfiable"] != "ScheduleAnyway",
        maximum_skew=constraint["maxSkew"],
        pods=Selection(frozenset({namespace_of(pod)}), selector, going=False),
        itself=selector.matches(labels_of(pod)),
        minimum_domains=constraint.get("minDomains") or 1,
        honour_affinity=constraint.get("nodeAffinityPolicy") != "Ignore",
        honour_taints=constraint.get("nodeTaintsPolicy") == "Honor",
    )


def _with_keys(selector: LabelSelector, pod: Object, keys: Iterable[str] | None, operator: str) -> LabelSelector:
    """The selector with what ``matchLabelKeys`` adds to it.

    The API server of 1.36 has merged that into the selector already; older ones leave it to the scheduler. Keys that
    the selector speaks of are done, even if the pod's label has changed since.
    """
    if not keys or selector.nothing:
        return selector
    labels, spoken_of = labels_of(pod), {one.key for one in selector.requirements}
    more = [Requirement(key, operator, (labels[key],)) for key in keys if key in labels and key not in spoken_of]
    return LabelSelector(tuple(sorted([*selector.requirements, *more], key=lambda one: one.key)))
