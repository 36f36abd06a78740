"""What an operator may decide about the scheduler."""

from __future__ import annotations

import msgspec

from kontinuum.client.settings import ElectionSettings


class ProfileSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What decides for the pods of one ``schedulerName``. Plugins go by Kubernetes' names (``TaintToleration``)."""

    scheduler_name: str
    """Pods that ask for this scheduler are decided by this profile."""
    disabled: tuple[str, ...] = ()
    """Plugins that neither filter nor score; also ``DefaultPreemption`` and ``Coscheduling``."""
    disabled_filters: tuple[str, ...] = ()
    """Plugins that refuse no node, though they may score."""
    disabled_scores: tuple[str, ...] = ()
    """Plugins that give no points, though they may filter."""
    weights: dict[str, int] = {}
    """What a plugin's points count, 1 to 100, instead of what they count in Kubernetes."""
    resources: dict[str, int] = {}
    """By which resources NodeResourcesFit and NodeResourcesBalancedAllocation compare nodes, and what each counts for
    the former, 1 to 100. Empty: cpu and memory alike. Extended resources count for pods that ask for them."""
    fills_nodes: bool = False
    """NodeResourcesFit prefers nodes with little room left (MostAllocated) to those with much (LeastAllocated)."""
    hard_pod_affinity_weight: int = 1
    """What a running pod's required affinity to a new one counts, as if it were preferred; 0 to 100."""


class SchedulerSettings(ElectionSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Times are seconds."""

    name: str = "default-scheduler"
    """Pods whose ``schedulerName`` is this are ours; all others are left alone. Events come from this name."""
    profiles: tuple[ProfileSettings, ...] = ()
    """Several schedulers in one process, each under its ``scheduler_name``, with plugins ``disabled`` (or only
    ``disabled_filters``, ``disabled_scores``) and ``weights`` of its own: see ``scheduling.md``. If any are given, only
    they are ours, and ``name`` counts for nothing."""
    bindings: int = 32
    """Bindings that may be under way at the same time."""
    flood_seconds: float = 0.5
    """While new pods come by the hundred, they are let come for so long at most before any more are placed: to create
    them and to bind them would be in each other's way at the API server. 0: all are placed as they come."""
    backoff_initial_seconds: float = 1.0
    """Time before a pod that did not fit is looked at again, once something relevant has changed; doubles each time."""
    backoff_maximum_seconds: float = 10.0
    """Upper bound of that time."""
    look_again_seconds: float = 300.0
    """A pod that did not fit is looked at again after this time, though nothing relevant was heard of."""
    assume_seconds: float = 30.0
    """Time after a binding within which the API must show it; then the room it took is given back."""
