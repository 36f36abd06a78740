"""In-place resize: what each container may use now (*allocated*), and whether a new wish can be granted. Pure.

    spec (wished) ──verdict──▶ allocated ──UpdateContainerResources──▶ actuated (what the cgroup holds)
                    └─ Deferred: others take the room now.  Infeasible: this node, or this machine, never has it.

Only cpu and memory of ordinary containers and sidecars can be resized (KEP-1287).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import orjson

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object
from kontinuum.node import cgroups, pods
from kontinuum.node.observed import RESOURCES, Container, Observed

KINDS = ("cpu", "memory")
Amounts = dict[str, dict[str, str]]
"""``requests`` and ``limits`` as a container's specification writes them, cpu and memory only."""
PENDING, IN_PROGRESS = "PodResizePending", "PodResizeInProgress"


@dataclass(frozen=True, slots=True)
class Room:
    """What the node has for pods: millicores and bytes of memory and disk (0: the disk is not counted)."""

    cpu: int
    memory: int
    storage: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a wish is not granted."""

    reason: Literal["Deferred", "Infeasible"]
    message: str


def resizable(pod: Object) -> list[Object]:
    sidecars = [one for one in pods.init_containers(pod) if pods.is_sidecar(one)]
    return [*sidecars, *pods.containers(pod)]


def is_resizable(pod: Object, container: Object) -> bool:
    return any(one["name"] == container["name"] for one in resizable(pod))


def wished(container: Object) -> Amounts:
    """What the specification asks for."""
    both = {which: pods.resources(container, which) for which in ("requests", "limits")}
    return _only(both)


def allocated(pod: Object, remembered: Mapping[str, Amounts]) -> dict[str, Amounts]:
    """By container: what was granted last. The status tells it to an agent that was restarted."""
    status = pod.get("status") or {}
    told = {one["name"]: one for field in ("initContainerStatuses", "containerStatuses")
            for one in status.get(field) or ()}  # fmt: skip
    found = {}
    for container in resizable(pod):
        name = container["name"]
        if name in remembered:
            found[name] = remembered[name]
        elif "resources" in told.get(name, {}):
            limits = told[name]["resources"].get("limits") or {}
            found[name] = _only({"requests": told[name].get("allocatedResources") or {}, "limits": limits})
        else:
            found[name] = wished(container)
    return found


def with_resources(pod: Object, amounts: Mapping[str, Amounts]) -> Object:
    """``pod`` as if its specification asked for ``amounts``."""

    def changed(container: Object) -> Object:
        if container["name"] not in amounts:
            return container
        before = container.get("resources") or {}
        now = dict(before)
        for which, values in amounts[container["name"]].items():
            others = {kind: value for kind, value in (before.get(which) or {}).items() if kind not in KINDS}
            now[which] = others | values
        return {**container, "resources": {which: value for which, value in now.items() if value}}

    spec = dict(pod["spec"])
    for field in ("initContainers", "containers"):
        if field in spec:
            spec[field] = [changed(one) for one in spec[field]]
    return {**pod, "spec": spec}


def verdict(pod: Object, others: Iterable[Object], room: Room, machine: Room | None) -> Verdict | None:
    """Whether the wish of ``pod`` cannot be granted. ``others``: the node's other pods, each with what it holds.

    ``machine`` is the size of the pod's own machine, which does not change while it runs; None for a container.
    """
    needed = {kind: cgroups.pod_request(pod, kind) for kind in KINDS}
    capacity = {"cpu": room.cpu, "memory": room.memory}
    for kind in KINDS:
        if needed[kind] > capacity[kind]:
            return Verdict("Infeasible", f"Node didn't have enough capacity: {kind}, requested: {needed[kind]}, "
                                         f"capacity: {capacity[kind]}")  # fmt: skip
    if machine is not None:
        for kind, most in (("cpu", machine.cpu), ("memory", machine.memory)):
            limit = _limit(pod, kind)
            if most and (not limit or limit > most):
                return Verdict("Infeasible", f"The pod's machine was started with less {kind}, requested: "
                                             f"{limit or 'no limit'}, machine: {most}")  # fmt: skip
    running = [one for one in others if not pods.is_terminal(one)]
    for kind in KINDS:
        taken = sum(cgroups.pod_request(one, kind) for one in running)
        if taken + needed[kind] > capacity[kind]:
            return Verdict("Deferred", f"Node didn't have enough resource: {kind}, requested: {needed[kind]}, "
                                       f"used: {taken}, capacity: {capacity[kind]}")  # fmt: skip
    return None


def machine_size(pod: Object, observed: Observed) -> Room:
    """What the machine of a pod of class microvm was made for: the sums that its containers were created with."""
    created = {}
    for container in resizable(pod):
        attempts = observed.attempts(container["name"])
        if attempts:
            created[container["name"]] = of_annotation(attempts[-1]) or wished(container)
    as_created = with_resources(pod, created)
    cpu = _limit(as_created, "cpu")
    return Room(math.ceil(cpu / 1000) * 1000, _limit(as_created, "memory"))


def actuated(container: Container, remembered: Mapping[str, Amounts]) -> Amounts | None:
    """What the running ``container``'s cgroup holds; None if its annotation does not say."""
    return remembered.get(container.id) or of_annotation(container)


def differing(pod: Object, observed: Observed, remembered: Mapping[str, Amounts]) -> list[tuple[Object, Amounts]]:
    """The running containers whose cgroup does not hold what ``pod`` says, each with what it holds."""
    found = []
    for container in resizable(pod):
        current = observed.current(container["name"])
        if current is not None and current.is_running:
            holds = actuated(current, remembered)
            if holds is not None and not same(holds, wished(container)):
                found.append((container, holds))
    return found


def memory_decreases(containers: Iterable[tuple[Object, Amounts]]) -> dict[str, int]:
    """By the container's name: its new memory limit, in bytes, where that is less than its cgroup holds."""
    found = {}
    for container, holds in containers:
        before, now = (_numbers(one).get(("limits", "memory"), 0) for one in (holds, wished(container)))
        if now and (now < before or not before):
            found[container["name"]] = now
    return found


def too_small(limits: Mapping[str, int], used: Mapping[str, int]) -> str:
    """What is to be said of memory limits below what is ``used`` (bytes, by name), as a kubelet says it; or nothing."""
    problems = [
        f'attempting to set container "{name}" memory limit ({limit}) below current usage ({used[name]})'
        for name, limit in limits.items()
        if used.get(name, 0) > limit
    ]
    return f"cannot decrease memory limits: {', '.join(problems)}" if problems else ""


def told(pod: Object) -> str:
    """What the pod's containers have, as the kubelet's events tell it."""
    containers = [{"name": one["name"], "resources": one.get("resources") or {}} for one in pods.containers(pod)]
    text = {"containers": containers, "generation": pod["metadata"].get("generation") or 0}
    return orjson.dumps(text).decode()


def annotation(container: Object) -> str:
    """What a new container's annotation says of what it was made with."""
    return orjson.dumps(wished(container)).decode()


def of_annotation(container: Container) -> Amounts | None:
    text = container.annotations.get(RESOURCES)
    found: Amounts | None = orjson.loads(text) if text else None
    return found


def same(one: Amounts, other: Amounts) -> bool:
    """Whether two wishes come to the same, however they are written."""
    return _numbers(one) == _numbers(other)


def restarts(container: Object, before: Amounts, after: Amounts) -> bool:
    """Whether the container's ``resizePolicy`` wants it to start again for this change."""
    old, new = _numbers(before), _numbers(after)
    changed = {kind for _, kind in old.keys() | new.keys() if any(old.get((which, kind)) != new.get((which, kind))
               for which in ("requests", "limits"))}  # fmt: skip
    policies = {one["resourceName"]: one["restartPolicy"] for one in container.get("resizePolicy") or ()}
    return any(policies.get(kind) == "RestartContainer" for kind in changed)


def _only(both: Mapping[str, Mapping[str, str]]) -> Amounts:
    return {which: {kind: values[kind] for kind in KINDS if kind in values} for which, values in both.items()}


def _numbers(amounts: Amounts) -> dict[tuple[str, str], int]:
    measure = {"cpu": quantity.milli, "memory": quantity.value}
    return {(which, kind): measure[kind](value) for which, values in amounts.items() for kind, value in values.items()}


def _limit(pod: Object, kind: str) -> int:
    """The sum of the limits; 0 if a container has none."""
    if any(kind not in pods.resources(one, "limits") for one in resizable(pod)):
        return 0
    measure = quantity.milli if kind == "cpu" else quantity.value
    return sum(measure(pods.resources(one, "limits")[kind]) for one in resizable(pod))
