"""What is wrong with the security contexts of pods and containers (kubernetes ``ValidatePodSecurityContext``)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kontinuum.api.kubernetes.validation import paths
from kontinuum.api.kubernetes.validation.checks import one_of
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

LARGEST_ID = 2**31 - 1
ID_TEXT = f"must be between 0 and {LARGEST_ID}, inclusive"
PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
SYSCTL = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
SYSCTL_PATH = rf"({SYSCTL}[\./])*{SYSCTL}"
LONGEST_SYSCTL = 253
CHOICES = {
    "fsGroupChangePolicy": ("Always", "OnRootMismatch"),
    "seLinuxChangePolicy": ("MountOption", "Recursive"),
    "supplementalGroupsPolicy": ("Merge", "Strict"),
}
HOSTS_OWN = {"hostNetwork": "hostNetwork", "hostPID": "HostPID", "hostIPC": "HostIPC"}
"""How Kubernetes writes each of the host's namespaces where it refuses them to pods with users of their own."""
NAMESPACED = {"hostNetwork": ("net.",), "hostIPC": ("kernel.sem", "kernel.shm", "kernel.msg", "fs.mqueue.")}
"""The kernel parameters that belong to a namespace: a pod with the host's own would change them for the host."""


def validate_pod_security(spec: Object, path: str) -> list[FieldError]:
    """The pod's own security context, and what the fields beside it say of the host's namespaces."""
    context = spec.get("securityContext")
    errors = _context(context, f"{path}.securityContext") if context else []
    if context and context.get("sysctls"):
        errors += _hosts_sysctls(spec, context["sysctls"], f"{path}.securityContext.sysctls")
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        problem = "ShareProcessNamespace and HostPID cannot both be enabled"
        errors.append(fields.invalid(f"{path}.shareProcessNamespace", True, problem))
    if spec.get("hostUsers") is False:
        used = [shown for name, shown in HOSTS_OWN.items() if spec.get(name)]
        errors += [fields.forbidden(f"{path}.{shown}", "when `hostUsers` is false") for shown in used]
    return errors


def _context(context: Object, path: str) -> list[FieldError]:
    errors = _ids(context, path, ("fsGroup", "runAsUser", "runAsGroup"))
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        errors += _id(group, f"{path}.supplementalGroups[{index}]")
    for name, supported in CHOICES.items():
        errors += one_of(context.get(name), supported, f"{path}.{name}", required=False)
    errors += _profiles(context, path)
    errors += _sysctls(context.get("sysctls") or (), f"{path}.sysctls")
    return errors


def validate_container_security(context: Object, spec: Object, path: str) -> list[FieldError]:
    """``spec`` is the pod's."""
    errors = _ids(context, path, ("runAsUser", "runAsGroup")) + _profiles(context, path)
    mount = context.get("procMount")
    errors += one_of(mount, ("Default", "Unmasked"), f"{path}.procMount", required=False)
    if mount == "Unmasked" and spec.get("hostUsers") is not False:
        errors.append(fields.invalid(f"{path}.procMount", mount, "`hostUsers` must be false to use `Unmasked`"))
    if context.get("allowPrivilegeEscalation") is False:
        refusal = "cannot set `allowPrivilegeEscalation` to false and"
        if context.get("privileged"):
            errors.append(fields.invalid(path, context, f"{refusal} `privileged` to true"))
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            errors.append(fields.invalid(path, context, f"{refusal} `capabilities.Add` CAP_SYS_ADMIN"))
    return errors


def _ids(context: Object, path: str, names: Sequence[str]) -> list[FieldError]:
    return [error for name in names for error in _id(context.get(name), f"{path}.{name}")]


def _id(number: int | None, path: str) -> list[FieldError]:
    return [] if number is None or 0 <= number <= LARGEST_ID else [fields.invalid(path, number, ID_TEXT)]


def _profiles(context: Object, path: str) -> list[FieldError]:
    errors = []
    for field, title in (("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")):
        if context.get(field) is not None:
            errors += _profile(context[field], title, f"{path}.{field}")
    return errors


def _profile(profile: Object, title: str, path: str) -> list[FieldError]:
    kind, local = profile.get("type"), profile.get("localhostProfile")
    errors = one_of(kind, PROFILES, f"{path}.type")
    where = f"{path}.localhostProfile"
    if kind == "Localhost" and not local:
        errors.append(fields.required(where, f"must be set when {title} type is Localhost"))
    elif kind != "Localhost" and local is not None:
        errors.append(fields.invalid(where, local, f"can only be set when {title} type is Localhost"))
    elif local and title == "seccomp":
        errors += paths.below(local, where)
    return errors


def _sysctls(sysctls: Sequence[Object], path: str) -> list[FieldError]:
    errors = []
    seen: set[str] = set()
    for index, one in enumerate(sysctls):
        name, here = one.get("name", ""), f"{path}[{index}].name"
        # Both separators name the same kernel parameter.
        plain = name.replace("/", ".")
        if not name:
            errors.append(fields.required(here))
        elif len(name) > LONGEST_SYSCTL or not re.fullmatch(SYSCTL_PATH, name, re.ASCII):
            problem = f"must have at most {LONGEST_SYSCTL} characters and match regex ^{SYSCTL_PATH}$"
            errors.append(fields.invalid(here, name, problem))
        elif plain in seen:
            errors.append(fields.duplicate(here, name))
        seen.add(plain)
    return errors


def _hosts_sysctls(spec: Object, sysctls: Sequence[Object], path: str) -> list[FieldError]:
    errors = []
    for index, one in enumerate(sysctls):
        name = one.get("name", "")
        errors += [
            fields.invalid(f"{path}[{index}].name", name, f"may not be specified when '{field}' is true")
            for field, prefixes in NAMESPACED.items()
            if spec.get(field) and name.replace("/", ".").startswith(prefixes)
        ]
    return errors
