"""The CRI's ContainerConfig of one container: pure, given its environment, mounts and image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kontinuum.api.kubernetes.pod_resources import container_amounts
from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.errors import Refused
from kontinuum.node import cgroups, pods, resize
from kontinuum.node.environment import expand
from kontinuum.node.observed import (
    CONTAINER_NAME,
    IMAGE_ASKED_FOR,
    POD_NAME,
    POD_NAMESPACE,
    POD_UID,
    RESOURCES,
    STREAK,
    TERMINATION_MESSAGE_POLICY,
)
from kontinuum.node.port import Config, Image
from kontinuum.node.sandbox_config import namespace_options, seccomp, supplemental_groups

MASKED_PATHS = ("/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware")  # fmt: skip
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
"""Kubernetes' ``procMount: Default``."""


class BadContainer(Refused):
    """The container cannot be made from what the pod says; shown as CreateContainerConfigError."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a container: its number, and how many crashes in a row came before."""

    number: int
    streak: int


def container_config(
    pod: Object,
    container: Object,
    attempt: Attempt,
    image: Image,
    *,
    environment: dict[str, str],
    mounts: Sequence[Config],
    devices: Sequence[Config] = (),
    node_memory: int,
    profiles: Path,
    target_id: str = "",
) -> Config:
    """``node_memory`` (bytes) is what a Burstable container's share for the OOM killer is measured against.

    ``profiles``: see ``seccomp``. ``target_id``: see ``namespace_options``.
    """
    metadata, name = pod["metadata"], container["name"]
    return {
        "metadata": {"name": name, "attempt": attempt.number},
        # By its id, so that what was checked is what runs even if the name moves on meanwhile.
        "image": {"image": image.id},
        "command": [expand(word, environment) for word in container.get("command") or ()],
        "args": [expand(word, environment) for word in container.get("args") or ()],
        "working_dir": container.get("workingDir") or "",
        "envs": [{"key": key, "value": value} for key, value in environment.items()],
        "mounts": list(mounts),
        "devices": list(devices),
        "labels": {
            CONTAINER_NAME: name,
            POD_NAME: metadata["name"],
            POD_NAMESPACE: metadata["namespace"],
            POD_UID: metadata["uid"],
        },
        "annotations": {
            STREAK: str(attempt.streak),
            IMAGE_ASKED_FOR: container["image"],
            RESOURCES: resize.annotation(container),
            TERMINATION_MESSAGE_POLICY: container.get("terminationMessagePolicy") or "File",
        },
        "log_path": log_path(name, attempt.number),
        "stdin": bool(container.get("stdin")),
        "stdin_once": bool(container.get("stdinOnce")),
        "tty": bool(container.get("tty")),
        "linux": {
            "resources": linux_resources(pod, container, node_memory),
            "security_context": _security(pod, container, image, profiles=profiles, target_id=target_id),
        },
    }


def log_path(name: str, attempt: int) -> str:
    """Below the sandbox's log directory."""
    return f"{name}/{attempt}.log"


def oom_score(pod: Object, container: Object, node_memory: int) -> int:
    """The kubelet's ``oom_score_adj`` policy (``pkg/kubelet/qos/policy.go``): who asked for little goes first.

    What the node cannot do without stays longest, and a sidecar as long as any container that it serves.
    """
    if pod["spec"].get("priorityClassName") == "system-node-critical":
        return -997
    match pods.qos_class(pod):
        case "Guaranteed":
            return -997
        case "BestEffort":
            return 1000
    request = quantity.value(pods.resources(container, "requests").get("memory", "0")) + _share_of_rest(pod)
    share = 1000 - 1000 * request // max(1, node_memory)
    score = min(999, max(3, share))
    if pods.is_sidecar(container):
        return min((score, *(oom_score(pod, one, node_memory) for one in pods.containers(pod))))
    return score


def _share_of_rest(pod: Object) -> int:
    """Bytes for each container of what the pod requests as a whole beyond what its containers do."""
    spec = pod["spec"]
    whole = pods.resources(spec, "requests").get("memory")
    if whole is None:
        return 0
    asked = quantity.value(container_amounts(spec, "requests").get("memory", "0"))
    return max(0, quantity.value(whole) - asked) // max(1, len(pods.containers(pod)))


def linux_resources(pod: Object, container: Object, node_memory: int) -> Config:
    """The CRI's LinuxContainerResources, at the container's creation and when it is resized."""
    own, requests = pods.resources(container, "limits"), pods.resources(container, "requests")
    request = quantity.milli(requests.get("cpu", own.get("cpu", "0")))
    # A container without limits of its own is held to those of its pod (KEP-2837).
    limits = {**pods.resources(pod["spec"], "limits"), **own}
    return {
        "cpu_period": cgroups.CPU_PERIOD,
        "cpu_quota": cgroups.quota(quantity.milli(limits["cpu"])) if "cpu" in limits else 0,
        "cpu_shares": cgroups.shares(request),
        "memory_limit_in_bytes": quantity.value(limits.get("memory", "0")),
        "oom_score_adj": oom_score(pod, container, node_memory),
    }


def _security(pod: Object, container: Object, image: Image, *, profiles: Path, target_id: str) -> Config:
    of_pod = pod["spec"].get("securityContext") or {}
    own = container.get("securityContext") or {}
    merged = {**of_pod, **{key: value for key, value in own.items() if value is not None}}
    privileged = bool(own.get("privileged"))
    capabilities = own.get("capabilities") or {}
    security: Config = {
        "namespace_options": namespace_options(pod, target_id),
        "privileged": privileged,
        "readonly_rootfs": bool(own.get("readOnlyRootFilesystem")),
        "no_new_privs": own.get("allowPrivilegeEscalation") is False,
        **supplemental_groups(pod),
        "seccomp": seccomp(merged.get("seccompProfile"), profiles),
        "capabilities": {
            "add_capabilities": capabilities.get("add") or [],
            "drop_capabilities": capabilities.get("drop") or [],
        },
    }
    if not privileged and own.get("procMount") != "Unmasked":
        security |= {"masked_paths": list(MASKED_PATHS), "readonly_paths": list(READONLY_PATHS)}
    return security | _user(pod, container, merged, image)


def _user(pod: Object, container: Object, merged: Object, image: Image) -> Config:
    """Who the process runs as. Raises BadContainer where ``runAsNonRoot`` forbids it."""
    wanted, group = merged.get("runAsUser"), merged.get("runAsGroup")
    user = wanted if wanted is not None else image.user
    where = f'(pod: "{pods.describe(pod)}", container: {container["name"]})'
    if merged.get("runAsNonRoot"):
        if user == 0 and wanted is not None:
            raise BadContainer(f"container's runAsUser breaks non-root policy {where}")
        if user is None and image.user_name:
            raise BadContainer(
                f"container has runAsNonRoot and image has non-numeric user ({image.user_name}), "
                f"cannot verify user is non-root {where}"
            )
        if not user:
            raise BadContainer(f"container has runAsNonRoot and image will run as root {where}")
    config: Config = {}
    if user is not None:
        config["run_as_user"] = {"value": user}
    elif image.user_name:
        config["run_as_username"] = image.user_name
    if group is not None:
        # The CRI refuses a group without a user; an image without a user runs as root.
        if not config:
            config["run_as_user"] = {"value": 0}
        config["run_as_group"] = {"value": group}
    return config
