"""Readings of a pod's specification that several parts of the node need. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from kontinuum.api.kubernetes import qos
from kontinuum.api.machinery.objects import Object, annotations_of

DEFAULT_GRACE_SECONDS = 30
CONFIG_SOURCE, CONFIG_HASH = "kubernetes.io/config.source", "kubernetes.io/config.hash"
MIRROR = "kubernetes.io/config.mirror"
"""On the API's picture of a static pod: the static pod's UID."""


def containers(pod: Object) -> list[Object]:
    found: list[Object] = pod["spec"].get("containers") or []
    return found


def init_containers(pod: Object) -> list[Object]:
    """Init containers and sidecars, in the order in which they start."""
    found: list[Object] = pod["spec"].get("initContainers") or []
    return found


def is_sidecar(container: Object) -> bool:
    """An init container that goes on running beside the others (KEP-753)."""
    return container.get("restartPolicy") == "Always"


def ephemeral_containers(pod: Object) -> list[Object]:
    """Containers that somebody has put into the running pod to look around; they run once."""
    found: list[Object] = pod["spec"].get("ephemeralContainers") or []
    return found


def all_containers(pod: Object) -> Iterator[Object]:
    """What the pod was made with."""
    yield from init_containers(pod)
    yield from containers(pod)


def used_volumes(pod: Object) -> set[str]:
    """The volumes that a container mounts, has as a device, or takes variables from."""
    found: set[str] = set()
    for container in (*all_containers(pod), *ephemeral_containers(pod)):
        for field in ("volumeMounts", "volumeDevices"):
            found.update(one["name"] for one in container.get(field) or ())
        sources = (one.get("valueFrom") or {} for one in container.get("env") or ())
        found.update(one["fileKeyRef"]["volumeName"] for one in sources if "fileKeyRef" in one)
    return found


def find_container(pod: Object, name: str) -> Object | None:
    everything = [*all_containers(pod), *ephemeral_containers(pod)]
    return next((container for container in everything if container["name"] == name), None)


def field_path(pod: Object, name: str) -> str:
    """Where the container stands in its pod, in events' words: ``spec.initContainers{setup}``; "" if it does not."""
    for field in ("containers", "initContainers", "ephemeralContainers"):
        if any(one["name"] == name for one in pod["spec"].get(field) or ()):
            return f"spec.{field}{{{name}}}"
    return ""


def restart_policy(pod: Object) -> str:
    policy: str = pod["spec"].get("restartPolicy") or "Always"
    return policy


def isolation_class(pod: Object) -> str:
    """The name of its RuntimeClass; "" is the default."""
    name: str = pod["spec"].get("runtimeClassName") or ""
    return name


def is_deleting(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def grace_seconds(pod: Object) -> int:
    """How long the pod's processes may take to end: what the deletion asks for, else what the specification says."""
    asked = pod["metadata"].get("deletionGracePeriodSeconds")
    if asked is None:
        asked = pod["spec"].get("terminationGracePeriodSeconds")
    return DEFAULT_GRACE_SECONDS if asked is None else int(asked)


def is_terminal(pod: Object) -> bool:
    """Whether the API already says that the pod has ended for good."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def is_static(pod: Object) -> bool:
    """Whether the pod comes from a file of this node."""
    return annotations_of(pod).get(CONFIG_SOURCE, "api") != "api" and not is_mirror(pod)


def is_mirror(pod: Object) -> bool:
    return MIRROR in annotations_of(pod)


def has_files(pod: Object) -> bool:
    """Whether the pod is described well enough to have anything on this machine: a stranger that only ends is not."""
    return bool(pod["spec"].get("containers"))


def is_host_network(pod: Object) -> bool:
    return bool(pod["spec"].get("hostNetwork"))


def qos_class(pod: Object) -> str:
    """Guaranteed, Burstable or BestEffort: it never changes once it is known."""
    known: str = (pod.get("status") or {}).get("qosClass") or ""
    return known or qos.qos_class(pod["spec"])


def resources(holder: Object, which: str) -> dict[str, str]:
    """The ``limits`` or ``requests`` of a container, or of a pod's specification."""
    found: dict[str, str] = (holder.get("resources") or {}).get(which) or {}
    return found


def describe(pod: Object) -> str:
    """``name_namespace(uid)``, as the kubelet's messages name a pod."""
    metadata = pod["metadata"]
    return f"{metadata['name']}_{metadata.get('namespace', '')}({metadata.get('uid', '')})"
