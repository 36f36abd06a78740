"""Settings of the admission plug-ins that decide inside the server."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["privileged", "baseline", "restricted"]


class PodSecuritySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What holds for namespaces whose labels say nothing, and who is left alone."""

    enforce: Level = "privileged"
    """Pods that violate this level are refused."""

    enforce_version: str = "latest"
    """The version of ``enforce``: ``latest`` or ``v1.27``."""

    audit: Level = "privileged"
    """Pods that violate this level are noted in the audit log."""

    audit_version: str = "latest"
    """The version of ``audit``."""

    warn: Level = "privileged"
    """Whoever makes pods that violate this level gets a warning."""

    warn_version: str = "latest"
    """The version of ``warn``."""

    exempt_namespaces: tuple[str, ...] = ()
    """Namespaces whose pods are not looked at."""

    exempt_users: tuple[str, ...] = ()
    """Users whose requests are not looked at; controllers make pods in their own name, so name people here."""

    exempt_runtime_classes: tuple[str, ...] = ()
    """Runtime classes whose pods are not looked at."""


class AdmissionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is decided about writes before they are stored."""

    pod_security: PodSecuritySettings = PodSecuritySettings()
    """The Pod Security Standards."""

    pod_toleration_restriction: bool = False
    """Namespaces' annotations give pods tolerations and say which they may have (PodTolerationRestriction)."""
