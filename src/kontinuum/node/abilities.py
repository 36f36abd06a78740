"""What an isolation class cannot give to a pod, and why: pure.

A pod that asks for it is told so before anything of it is made, and waits: doing less in silence would be a surprise
that nobody could see. The README's table of classes shows the same sentences, as a test run met them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.errors import Refused
from kontinuum.node import pods
from kontinuum.node.user_namespaces import has_own

MACHINES = ("microvm", "vm")
"""Handlers whose pods have a kernel of their own, in a machine of a size that stays.

A volume reaches them as a disk, or not at all (decision 0054).
"""


class NotOffered(Refused):
    """The pod asks for what its class cannot do; the message says what and why."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One thing that a class cannot do. ``path`` is the field by which a pod asks for it."""

    path: str
    is_asked: Callable[[Object], bool]
    why: str


def unmet(handler: str, pod: Object) -> str | None:
    """What of ``pod`` the class behind ``handler`` cannot do, as a sentence; None if there is nothing."""
    for limit in LIMITS.get(handler or "container", ()):
        if limit.is_asked(pod):
            return sentence(limit.path, handler, limit.why)
    return None


def sentence(path: str, handler: str, why: str) -> str:
    """What is told of a field that a class cannot give."""
    return f"{path} is not offered by the isolation class {handler or 'container'}: {why}"


def _is_set(field: str) -> Callable[[Object], bool]:
    return lambda pod: bool(pod["spec"].get(field))


def _sets_sysctls(pod: Object) -> bool:
    return bool((pod["spec"].get("securityContext") or {}).get("sysctls"))


def _every_container(pod: Object) -> Iterable[Object]:
    return [*pods.all_containers(pod), *pods.ephemeral_containers(pod)]


def _propagates(pod: Object) -> bool:
    mounts = [mount for container in _every_container(pod) for mount in container.get("volumeMounts") or ()]
    return any((mount.get("mountPropagation") or "None") != "None" for mount in mounts)


def _reads_files(pod: Object) -> bool:
    variables = [one for container in _every_container(pod) for one in container.get("env") or ()]
    return any("fileKeyRef" in (one.get("valueFrom") or {}) for one in variables)


def _has_devices(pod: Object) -> bool:
    return any(container.get("volumeDevices") for container in pods.all_containers(pod))


LIMITS: dict[str, tuple[Limit, ...]] = {
    "sandbox": (
        Limit("hostUsers: false", has_own, "its users are those of gVisor's kernel already, not the host's"),
        Limit("hostPID", _is_set("hostPID"), "gVisor's kernel knows no process of the host"),
        Limit("hostIPC", _is_set("hostIPC"), "gVisor's kernel shares no memory with processes of the host"),
        Limit("securityContext.sysctls", _sets_sysctls, "gVisor's kernel has no such parameters to set"),
        Limit("mountPropagation", _propagates, "gVisor keeps its own table of mounts"),
        Limit("volumeDevices", _has_devices, "gVisor hands no device of the host on"),
    ),
    "microvm": (
        Limit("hostUsers: false", has_own, "its users are those of the machine's own kernel already"),
        Limit("hostNetwork", _is_set("hostNetwork"), "the machine has its own kernel, and with it its own network"),
        Limit("hostPID", _is_set("hostPID"), "the machine's kernel knows no process of the host"),
        Limit("hostIPC", _is_set("hostIPC"), "the machine's kernel shares no memory with processes of the host"),
        Limit("mountPropagation", _propagates, "the machine's kernel has its own table of mounts"),
        Limit("env.valueFrom.fileKeyRef", _reads_files, "the node does not see into the machine's own volumes"),
    ),
}
