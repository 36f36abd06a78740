"""What an operator may decide about the scheduler."""

from __future__ import annotations

from kontinuum.client.settings import ElectionSettings


class SchedulerSettings(ElectionSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Times are seconds."""

    name: str = "default-scheduler"
    """Pods whose ``schedulerName`` is this are ours; all others are left alone."""
    bindings: int = 32
    """Bindings that may be under way at the same time."""
    backoff_initial_seconds: float = 1.0
    """Time before a pod that did not fit is looked at again, once something relevant has changed; doubles each time."""
    backoff_maximum_seconds: float = 10.0
    """Upper bound of that time."""
    look_again_seconds: float = 300.0
    """A pod that did not fit is looked at again after this time, though nothing relevant was heard of."""
    assume_seconds: float = 30.0
    """Time after a binding within which the API must show it; then the room it took is given back."""
