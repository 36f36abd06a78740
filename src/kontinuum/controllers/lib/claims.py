"""Which claims a pod uses."""

from __future__ import annotations

from kontinuum.api.kubernetes.claims import claimed_volumes
from kontinuum.api.machinery.objects import Object


def claims_of(pod: Object) -> set[str]:
    """Names of claims in the pod's namespace: those it names, and those made for it alone (``<pod>-<volume>``)."""
    return {one.claim for one in claimed_volumes(pod)}
