"""Which checks make up a level in a version, and their sum."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from kontinuum.api.kubernetes.pod_security import baseline, restricted
from kontinuum.api.kubernetes.pod_security.policy import BASELINE, PRIVILEGED, Standard
from kontinuum.api.kubernetes.pod_security.words import Pod, Violation
from kontinuum.api.machinery.objects import Object

Check = Callable[[Pod, int], Violation | None]

_BASELINE: tuple[Check, ...] = (
    baseline.app_armor_profile,
    baseline.capabilities,
    baseline.host_namespaces,
    baseline.host_path_volumes,
    baseline.host_ports,
    baseline.host_probes,
    baseline.privileged,
    baseline.proc_mount,
    baseline.se_linux_options,
    baseline.seccomp_profile,
    baseline.sysctls,
    baseline.windows_host_process,
)
_RESTRICTED: tuple[tuple[int, Check, Check | None], ...] = (
    (8, restricted.allow_privilege_escalation, None),
    (22, restricted.capabilities, baseline.capabilities),
    (0, restricted.volumes, baseline.host_path_volumes),
    (0, restricted.run_as_non_root, None),
    (23, restricted.run_as_user, None),
    (19, restricted.seccomp_profile, baseline.seccomp_profile),
)
"""Since which minor version, the check, and the one of the baseline that it replaces; in the order of violations."""


def violations(standard: Standard, metadata: Object, spec: Object) -> list[Violation]:
    """What a pod (or template) with this ``metadata`` and ``spec`` violates; nothing at the privileged level."""
    if standard.level == PRIVILEGED:
        return []
    pod = Pod(metadata, spec)
    return [found for check in _checks(standard) if (found := check(pod, standard.minor)) is not None]


@lru_cache(maxsize=64)
def _checks(standard: Standard) -> tuple[Check, ...]:
    if standard.level == BASELINE:
        return _BASELINE
    stricter = [(check, replaced) for since, check, replaced in _RESTRICTED if standard.minor >= since]
    replaced = {one for _, one in stricter}
    return (*(check for check in _BASELINE if check not in replaced), *(check for check, _ in stricter))
