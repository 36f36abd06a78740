"""What is special about a resource's verbs, as data. Kubernetes keeps these facts in each kind's ``strategy.go``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.kubernetes.kinds.apiextensions import begin_termination
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.lifecycle import GraceOf, no_grace, pod_grace
from kontinuum.foundation.clock import rfc3339


@dataclass(frozen=True, slots=True)
class Strategy:
    """The defaults fit most kinds."""

    grace_of: GraceOf = no_grace
    answers_deleted_object: bool = False
    """A delete answers the object rather than a Status, even when it is gone at once."""
    creates_on_update: bool = False
    updates_unconditionally: bool = True
    """An update without resourceVersion overwrites whatever is there."""
    begin_deletion: Callable[[Object, float], None] | None = None
    """What a delete changes before it is decided; it is told the time, in seconds since the epoch."""
    is_policy: bool = False
    """Others are admitted by it: whoever writes one is answered when this server goes by it."""
    on_terminating: Callable[[Object], None] | None = None
    """What a delete that has to wait changes beside the metadata."""


def _terminate_namespace(namespace: Object) -> None:
    namespace["status"] = {**(namespace.get("status") or {}), "phase": "Terminating"}


def _empty_first(definition: Object, now: float) -> None:
    begin_termination(definition, now=rfc3339(now))


NEUTRAL = Strategy()
CUSTOM = Strategy(updates_unconditionally=False)
"""Of every resource that a CustomResourceDefinition defines."""
STRATEGIES: dict[Resource, Strategy] = {
    r.PODS: Strategy(grace_of=pod_grace, answers_deleted_object=True),
    r.NAMESPACES: Strategy(on_terminating=_terminate_namespace),
    r.CUSTOMRESOURCEDEFINITIONS: Strategy(updates_unconditionally=False, begin_deletion=_empty_first),
    r.SERVICES: Strategy(answers_deleted_object=True, creates_on_update=True),
    r.SERVICEACCOUNTS: Strategy(answers_deleted_object=True),
    r.ENDPOINTS: Strategy(creates_on_update=True),
    r.EVENTS: Strategy(creates_on_update=True),
    r.LIMITRANGES: Strategy(creates_on_update=True),
    r.LEASES: Strategy(creates_on_update=True, updates_unconditionally=False),
    r.RUNTIMECLASSES: Strategy(updates_unconditionally=False),
    r.EVENTS_V1: Strategy(creates_on_update=True),
    **dict.fromkeys((r.ROLES, r.ROLEBINDINGS, r.CLUSTERROLES, r.CLUSTERROLEBINDINGS), Strategy(creates_on_update=True)),
    **dict.fromkeys(
        (
            r.CSISTORAGECAPACITIES,
            r.FLOWSCHEMAS,
            r.PRIORITYLEVELCONFIGURATIONS,
            r.MUTATINGWEBHOOKCONFIGURATIONS,
            r.VALIDATINGWEBHOOKCONFIGURATIONS,
            r.MUTATINGADMISSIONPOLICIES,
            r.MUTATINGADMISSIONPOLICYBINDINGS,
            r.VALIDATINGADMISSIONPOLICIES,
            r.VALIDATINGADMISSIONPOLICYBINDINGS,
        ),
        Strategy(updates_unconditionally=False),
    ),
    **dict.fromkeys(
        (r.CSIDRIVERS, r.CSINODES, r.VOLUMEATTACHMENTS),
        Strategy(answers_deleted_object=True, updates_unconditionally=False),
    ),
    **dict.fromkeys(
        (
            r.PERSISTENTVOLUMECLAIMS,
            r.PERSISTENTVOLUMES,
            r.PODTEMPLATES,
            r.RESOURCEQUOTAS,
            r.STORAGECLASSES,
            r.VOLUMEATTRIBUTESCLASSES,
            r.DEVICECLASSES,
            r.RESOURCECLAIMS,
            r.RESOURCECLAIMTEMPLATES,
            r.RESOURCESLICES,
        ),
        Strategy(answers_deleted_object=True),
    ),
}


POLICIES = frozenset({
    r.INGRESSCLASSES, r.LIMITRANGES, r.NAMESPACES, r.PRIORITYCLASSES, r.RESOURCEQUOTAS, r.RUNTIMECLASSES,
    r.STORAGECLASSES,
})  # fmt: skip


def strategy_of(resource: Resource) -> Strategy:
    found = STRATEGIES.get(resource, NEUTRAL)
    return replace(found, is_policy=True) if resource in POLICIES else found
