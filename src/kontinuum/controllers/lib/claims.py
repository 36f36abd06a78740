"""Which claims a pod uses."""

from __future__ import annotations

from kontinuum.api.machinery.objects import Object, name_of


def claims_of(pod: Object) -> set[str]:
    """Names of claims in the pod's namespace: those it names, and those made for it alone (``<pod>-<volume>``)."""
    found = set()
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if claim := (volume.get("persistentVolumeClaim") or {}).get("claimName"):
            found.add(claim)
        elif "ephemeral" in volume:
            found.add(f"{name_of(pod)}-{volume.get('name', '')}")
    return found
