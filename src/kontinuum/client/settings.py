"""What an operator may decide about any component that elects a leader."""

from __future__ import annotations

import msgspec


class ElectionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who leads. Times are seconds; the defaults are those of Kubernetes' own components."""

    elect: bool = False
    """Work only while holding the component's Lease in ``kube-system`` (``kube-controller-manager``,
    ``kube-scheduler``): for several processes at once."""
    identity: str = ""
    """This process's name in the Lease; must be unique. Empty: host name and a random part."""
    lease_duration_seconds: int = 15
    """Others wait for this long after the last renewal that they saw, before they take the Lease. Whole seconds."""
    renew_deadline_seconds: float = 10.0
    """A leader that could not renew for this long stops. Less than the duration, so that it stops before another
    begins."""
    retry_period_seconds: float = 2.0
    """Time between two attempts to take or to renew the Lease."""
