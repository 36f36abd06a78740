"""The checks of the baseline level: nothing that is known to lead out of a container."""

from __future__ import annotations

from collections.abc import Iterator

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
from kontinuum.api.machinery.fields import quoted
from kontinuum.api.machinery.objects import Object

APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
PROFILES = ("RuntimeDefault", "Localhost")
CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
        "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    }
)  # fmt: skip
SYSCTLS = {
    0: ("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range", "net.ipv4.tcp_syncookies"),
    27: ("net.ipv4.ip_local_reserved_ports",),
    29: ("net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes",
         "net.ipv4.tcp_keepalive_time"),
    32: ("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"),
}  # fmt: skip
"""Those that do no harm outside the pod, by the minor version since which they are allowed."""
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def app_armor_profile(pod: Pod, minor: int) -> Violation | None:
    def is_bad(security: Object) -> bool:
        profile = security.get("appArmorProfile")
        return profile is not None and profile.get("type") not in PROFILES

    bad = [one for one in pod.containers if is_bad(security_of(one))]
    securities = [pod.security, *map(security_of, pod.containers)]
    values = sorted({one["appArmorProfile"].get("type", "") for one in securities if is_bad(one)})
    annotations = [
        f"{key}={quoted(value)}"
        for key, value in sorted((pod.metadata.get("annotations") or {}).items())
        if key.startswith(APP_ARMOR) and value not in ("", "runtime/default") and not value.startswith("localhost/")
    ]
    who = [setters(is_bad(pod.security), bad)] if values else []
    who += [plural("annotation", annotations)] if annotations else []
    if not who:
        return None
    values += annotations
    detail = f"{' and '.join(who)} must not set AppArmor profile type to {listed(values)}"
    return Violation(plural("forbidden AppArmor profile", values), detail)


def capabilities(pod: Pod, minor: int) -> Violation | None:
    def added(one: Object) -> set[str]:
        return set((security_of(one).get("capabilities") or {}).get("add") or ()) - CAPABILITIES

    bad = [one for one in pod.containers if added(one)]
    if not bad:
        return None
    values = sorted(set().union(*map(added, bad)))
    detail = f"{containers_named(bad)} must not include {listed(values)} in securityContext.capabilities.add"
    return Violation("non-default capabilities", detail)


def host_namespaces(pod: Pod, minor: int) -> Violation | None:
    shared = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if pod.spec.get(field)]
    return Violation("host namespaces", ", ".join(shared)) if shared else None


def host_path_volumes(pod: Pod, minor: int) -> Violation | None:
    bad = [one.get("name", "") for one in pod.spec.get("volumes") or () if one.get("hostPath") is not None]
    return Violation("hostPath volumes", named("volume", bad)) if bad else None


def host_ports(pod: Pod, minor: int) -> Violation | None:
    def ports(one: Object) -> list[int]:
        return [port["hostPort"] for port in one.get("ports") or () if port.get("hostPort")]

    bad = [one for one in pod.containers if ports(one)]
    if not bad:
        return None
    values = sorted({str(port) for one in bad for port in ports(one)})
    detail = f"{containers_named(bad)} {use(bad)} {plural('hostPort', values)} {', '.join(values)}"
    return Violation("hostPort", detail)


def host_probes(pod: Pod, minor: int) -> Violation | None:
    if minor < 34:
        return None
    bad = [one for one in pod.containers if any(_hosts(one))]
    if not bad:
        return None
    values = sorted({host for one in bad for host in _hosts(one) if host})
    who = sorted(bad, key=lambda one: str(one.get("name", "")))
    detail = f"{containers_named(who)} {use(bad)} {named('probe or lifecycle host', values)}"
    return Violation("probe or lifecycle host", detail)


def _hosts(container: Object) -> Iterator[str]:
    lifecycle = container.get("lifecycle") or {}
    handlers = [*(container.get(probe) for probe in PROBES), lifecycle.get("postStart"), lifecycle.get("preStop")]
    for handler in handlers:
        for action in ("httpGet", "tcpSocket"):
            yield ((handler or {}).get(action) or {}).get("host") or ""


def privileged(pod: Pod, minor: int) -> Violation | None:
    bad = [one for one in pod.containers if security_of(one).get("privileged")]
    detail = f"{containers_named(bad)} must not set securityContext.privileged=true"
    return Violation("privileged", detail) if bad else None


def proc_mount(pod: Pod, minor: int) -> Violation | None:
    def is_bad(one: Object) -> bool:
        return bool(security_of(one).get("procMount", "Default") != "Default")

    bad = [one for one in pod.containers if is_bad(one)]
    if not bad:
        return None
    values = sorted({security_of(one)["procMount"] for one in bad})
    detail = f"{containers_named(bad)} must not set securityContext.procMount to {listed(values)}"
    return Violation("procMount", detail)


def se_linux_options(pod: Pod, minor: int) -> Violation | None:
    allowed = {"", "container_t", "container_init_t", "container_kvm_t"} | (
        {"container_engine_t"} if minor >= 31 else set()
    )

    def is_bad(security: Object) -> bool:
        options = security.get("seLinuxOptions") or {}
        return options.get("type", "") not in allowed or bool(options.get("user") or options.get("role"))

    bad = [one for one in pod.containers if is_bad(security_of(one))]
    who = setters(is_bad(pod.security), bad)
    if not who:
        return None
    options = [(one.get("seLinuxOptions") or {}) for one in (pod.security, *map(security_of, pod.containers))]
    types = sorted({one.get("type", "") for one in options} - allowed)
    problems = [named("type", types)] if types else []
    problems += [f"{field} may not be set" for field in ("user", "role") if any(one.get(field) for one in options)]
    return Violation("seLinuxOptions", f"{who} set forbidden securityContext.seLinuxOptions: {'; '.join(problems)}")


def seccomp_profile(pod: Pod, minor: int) -> Violation | None:
    return _seccomp_annotations(pod) if minor < 19 else forbidden_seccomp(pod)


def forbidden_seccomp(pod: Pod) -> Violation | None:
    """Profiles that are set, and to something that protects from nothing."""

    def is_bad(security: Object) -> bool:
        profile = security.get("seccompProfile")
        return profile is not None and profile.get("type") not in PROFILES

    bad = [one for one in pod.containers if is_bad(security_of(one))]
    who = setters(is_bad(pod.security), bad)
    if not who:
        return None
    securities = [pod.security, *map(security_of, pod.containers)]
    values = sorted({one["seccompProfile"].get("type", "") for one in securities if is_bad(one)})
    return Violation("seccompProfile", f"{who} must not set securityContext.seccompProfile.type to {listed(values)}")


def _seccomp_annotations(pod: Pod) -> Violation | None:
    keys = {SECCOMP_POD, *(SECCOMP_CONTAINER + one.get("name", "") for one in pod.containers)}
    good = ("runtime/default", "docker/default")
    bad = [
        f"{key}={quoted(value)}"
        for key, value in sorted((pod.metadata.get("annotations") or {}).items())
        if key in keys and value not in good and not value.startswith("localhost/")
    ]
    if not bad:
        return None
    return Violation("seccompProfile", f"forbidden {plural('annotation', bad)} {', '.join(bad)}")


def sysctls(pod: Pod, minor: int) -> Violation | None:
    allowed = {name for since, names in SYSCTLS.items() if since <= minor for name in names}
    bad = [one.get("name", "") for one in pod.security.get("sysctls") or () if one.get("name") not in allowed]
    return Violation("forbidden sysctls", ", ".join(bad)) if bad else None


def windows_host_process(pod: Pod, minor: int) -> Violation | None:
    def is_bad(security: Object) -> bool:
        return bool((security.get("windowsOptions") or {}).get("hostProcess"))

    bad = [one for one in pod.containers if is_bad(security_of(one))]
    who = setters(is_bad(pod.security), bad)
    if not who:
        return None
    return Violation("hostProcess", f"{who} must not set securityContext.windowsOptions.hostProcess=true")
