"""The checks of the restricted level, beside those of the baseline that they do not replace."""

from __future__ import annotations

from kontinuum.api.kubernetes.pod_security.baseline import forbidden_seccomp
from kontinuum.api.kubernetes.pod_security.words import (
    Pod,
    Violation,
    containers_named,
    listed,
    named,
    plural,
    security_of,
    setters,
    use,
)
from kontinuum.api.machinery.objects import Object

VOLUMES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)
OTHER_VOLUMES = frozenset(
    {
        "hostPath", "gcePersistentDisk", "awsElasticBlockStore", "gitRepo", "nfs", "iscsi", "glusterfs", "rbd",
        "flexVolume", "cinder", "cephfs", "flocker", "fc", "azureFile", "vsphereVolume", "quobyte", "azureDisk",
        "photonPersistentDisk", "portworxVolume", "scaleIO", "storageos",
    }
)  # fmt: skip
WINDOWS_SINCE = 25
"""Since this minor version the checks that make no sense on Windows are left out there."""


def allow_privilege_escalation(pod: Pod, minor: int) -> Violation | None:
    if minor < 8 or (pod.is_windows and minor >= WINDOWS_SINCE):
        return None
    bad = [one for one in pod.containers if security_of(one).get("allowPrivilegeEscalation") is not False]
    detail = f"{containers_named(bad)} must set securityContext.allowPrivilegeEscalation=false"
    return Violation("allowPrivilegeEscalation != false", detail) if bad else None


def capabilities(pod: Pod, minor: int) -> Violation | None:
    if pod.is_windows and minor >= WINDOWS_SINCE:
        return None

    def words(one: Object, side: str) -> set[str]:
        return set((security_of(one).get("capabilities") or {}).get(side) or ())

    keeping = [one for one in pod.containers if "ALL" not in words(one, "drop")]
    adding = [one for one in pod.containers if words(one, "add") - {"NET_BIND_SERVICE"}]
    details = []
    if keeping:
        details.append(f'{containers_named(keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        values = sorted(set().union(*(words(one, "add") for one in adding)) - {"NET_BIND_SERVICE"})
        details.append(
            f"{containers_named(adding)} must not include {listed(values)} in securityContext.capabilities.add"
        )
    return Violation("unrestricted capabilities", "; ".join(details)) if details else None


def volumes(pod: Pod, minor: int) -> Violation | None:
    bad = [one for one in pod.spec.get("volumes") or () if not VOLUMES & one.keys()]
    if not bad:
        return None
    types = sorted({next(iter(OTHER_VOLUMES & one.keys()), "unknown") for one in bad})
    who = named("volume", [one.get("name", "") for one in bad])
    detail = f"{who} {use(bad)} {plural('restricted volume type', types)} {listed(types)}"
    return Violation("restricted volume types", detail)


def run_as_non_root(pod: Pod, minor: int) -> Violation | None:
    wanted = pod.security.get("runAsNonRoot")
    refusing = [one for one in pod.containers if security_of(one).get("runAsNonRoot") is False]
    who = setters(wanted is False, refusing)
    if who:
        return Violation("runAsNonRoot != true", f"{who} must not set securityContext.runAsNonRoot=false")
    silent = [one for one in pod.containers if security_of(one).get("runAsNonRoot") is None]
    if not silent or wanted:
        return None
    detail = f"pod or {containers_named(silent)} must set securityContext.runAsNonRoot=true"
    return Violation("runAsNonRoot != true", detail)


def run_as_user(pod: Pod, minor: int) -> Violation | None:
    if minor < 23:
        return None
    bad = [one for one in pod.containers if security_of(one).get("runAsUser") == 0]
    who = setters(pod.security.get("runAsUser") == 0, bad)
    return Violation("runAsUser=0", f"{who} must not set runAsUser=0") if who else None


def seccomp_profile(pod: Pod, minor: int) -> Violation | None:
    if pod.is_windows and minor >= WINDOWS_SINCE:
        return None
    found = forbidden_seccomp(pod)
    if found is not None or pod.security.get("seccompProfile") is not None:
        return found
    silent = [one for one in pod.containers if security_of(one).get("seccompProfile") is None]
    if not silent:
        return None
    who = f"pod or {containers_named(silent)}"
    detail = f'{who} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return Violation("seccompProfile", detail)
