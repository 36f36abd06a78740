"""The pod's status as everybody else sees it: a pure function of what is wanted, observed and remembered.

The rules are the kubelet's (``pkg/kubelet/kubelet_pods.go``, ``status/generate.go``).
"""

from __future__ import annotations

from dataclasses import dataclass

from kontinuum.api.machinery.conditions import find, set_condition
from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.clock import rfc3339
from kontinuum.node import pods, resize, restarts
from kontinuum.node.container_status import container_status, ended_anyhow
from kontinuum.node.lost import with_lost
from kontinuum.node.observed import Observed
from kontinuum.node.remembered import Ending, Remembered

DISRUPTED, BY_NODE = "DisruptionTarget", "TerminationByKubelet"


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a pod's status says about its node."""

    ip: str


def status(
    pod: Object,
    observed: Observed,
    remembered: Remembered,
    host: HostFacts,
    now: float,
    *,
    even_now: float | None = None,
) -> Object:
    """The whole ``status`` of ``pod``; what others wrote there (their conditions, nominatedNodeName) stays.

    ``now`` is what the wall clock says and is written; ``even_now`` is what is old or fresh is measured by.
    """
    even_now = now if even_now is None else even_now
    before: Object = pod.get("status") or {}
    if remembered.ending is not None and remembered.ending.is_refusal and observed.is_empty:
        return _refused(pod, remembered.ending, now)
    observed = with_lost(pod, observed)
    init = [container_status(pod, one, observed, remembered, even_now) for one in pods.init_containers(pod)]
    main = [container_status(pod, one, observed, remembered, even_now) for one in pods.containers(pod)]
    is_in = phase(pod, init, main, observed, remembered)
    if is_in in ("Succeeded", "Failed"):
        init, main = ended_anyhow(init, main)
    result: Object = {
        **{key: before[key] for key in ("nominatedNodeName", "resourceClaimStatuses") if key in before},
        "phase": is_in,
        "qosClass": pods.qos_class(pod),
        "startTime": before.get("startTime") or rfc3339(now),
        "hostIP": host.ip,
        "hostIPs": [{"ip": host.ip}],
        "containerStatuses": main,
    }
    if init:
        result["initContainerStatuses"] = init
    if pods.ephemeral_containers(pod):
        result["ephemeralContainerStatuses"] = [
            container_status(pod, one, observed, remembered, even_now) for one in pods.ephemeral_containers(pod)
        ]
    if pod["metadata"].get("generation"):
        result["observedGeneration"] = pod["metadata"]["generation"]
    if result["phase"] == "Failed" and remembered.ending:
        result |= {"reason": remembered.ending.reason, "message": remembered.ending.message}
    elif pods.is_terminal(pod):
        # Why it ended was known to an agent before this one.
        result |= {key: before[key] for key in ("reason", "message") if before.get(key)}
    ips = _ips(pod, observed, host)
    if ips:
        result |= {"podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]}
    result["conditions"] = _conditions(pod, result, init, main, observed, remembered, rfc3339(now))
    return result


def _refused(pod: Object, why: Ending, now: float) -> Object:
    """Of a pod that the node has not taken. kubectl shows a waiting container's reason rather than the pod's."""
    before: Object = pod.get("status") or {}
    generation = pod["metadata"].get("generation")
    return {
        **{key: before[key] for key in ("nominatedNodeName", "resourceClaimStatuses", "conditions") if key in before},
        "phase": "Failed",
        "reason": why.reason,
        "message": why.message,
        "qosClass": pods.qos_class(pod),
        "startTime": before.get("startTime") or rfc3339(now),
        **({"observedGeneration": generation} if generation else {}),
    }


def phase(pod: Object, init: list[Object], main: list[Object], observed: Observed, remembered: Remembered) -> str:
    """Pending, Running, Succeeded or Failed; a pod that has ended never comes back from it."""
    known: str = (pod.get("status") or {}).get("phase") or ""
    if known in ("Succeeded", "Failed"):
        return known
    if remembered.ending:
        # Whoever reads Failed may take it that nothing of the pod runs any more.
        runs = any(container.is_running for container in observed.containers)
        return (known or "Running") if runs else "Failed"
    is_final = pods.is_deleting(pod) and not any(container.is_running for container in observed.containers)
    sidecars = {one["name"] for one in pods.init_containers(pod) if pods.is_sidecar(one)}
    for one in init:
        if one["name"] in sidecars:
            continue
        end = one["state"].get("terminated") or (one["lastState"].get("terminated") if not one["ready"] else None)
        if end and end["exitCode"] != 0 and (is_final or not _runs_again(pod, one["name"], end, remembered)):
            return "Failed"
        if not one["ready"]:
            return "Failed" if is_final and end else "Pending"
    return _phase_of_main(pod, main, remembered, is_final=is_final)


def _phase_of_main(pod: Object, main: list[Object], remembered: Remembered, *, is_final: bool) -> str:
    states = [one["state"] for one in main]
    if any("waiting" in one["state"] and "terminated" not in one["lastState"] for one in main):
        return "Pending"
    if any("running" in state for state in states):
        return "Running"
    succeeded = all(state.get("terminated", {}).get("exitCode") == 0 for state in states)
    if is_final:
        return "Succeeded" if succeeded else "Failed"
    ends = {one["name"]: one["state"].get("terminated") or one["lastState"].get("terminated") for one in main}
    if any(end is None or _runs_again(pod, name, end, remembered) for name, end in ends.items()):
        return "Running"
    return "Succeeded" if succeeded else "Failed"


def _runs_again(pod: Object, name: str, end: Object, remembered: Remembered) -> bool:
    if str(end.get("containerID")).removeprefix("containerd://") in remembered.replacing:
        return True
    container = pods.find_container(pod, name)
    return container is not None and restarts.wants_restart(pod, container, end["exitCode"])


def _ips(pod: Object, observed: Observed, host: HostFacts) -> tuple[str, ...]:
    sandbox = observed.sandbox
    if pods.is_host_network(pod):
        return (host.ip,)
    if sandbox is not None and sandbox.is_ready:
        return sandbox.ips
    # An address that is no longer ours is still shown of a pod that has ended, as the kubelet does.
    return tuple(one["ip"] for one in (pod.get("status") or {}).get("podIPs") or ())


def _conditions(
    pod: Object,
    result: Object,
    init: list[Object],
    main: list[Object],
    observed: Observed,
    remembered: Remembered,
    now: str,
) -> list[Object]:
    conditions: list[Object] = list((pod.get("status") or {}).get("conditions") or ())
    generation = pod["metadata"].get("generation") or None
    ended = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(result["phase"], "")
    sandbox = observed.sandbox
    has_sandbox = sandbox is not None and sandbox.is_ready

    sidecars = {one["name"] for one in pods.init_containers(pod) if pods.is_sidecar(one)}
    not_initialised = [one["name"] for one in init if not (one["started"] if one["name"] in sidecars else one["ready"])]
    not_ready = [one["name"] for one in main if not one["ready"]]
    not_ready += [one["name"] for one in init if one["name"] in sidecars and not one["ready"]]

    initialised = _verdict("ContainersNotInitialized", "containers with incomplete status", not_initialised)
    if ended == "PodCompleted" or any("running" in one["state"] for one in main):
        initialised = ("True", ended, "")
    ready = (
        ("False", ended, "") if ended else _verdict("ContainersNotReady", "containers with unready status", not_ready)
    )
    for kind, (value, reason, message) in {
        "PodReadyToStartContainers": ("True" if has_sandbox and not ended else "False", "", ""),
        "Initialized": initialised,
        "Ready": _with_gates(pod, ready),
        "ContainersReady": ready,
        "PodScheduled": ("True", "", ""),
    }.items():
        conditions = set_condition(
            conditions, kind, value, now=now, reason=reason, message=message, observedGeneration=generation
        )
    if remembered.ending and remembered.ending.is_disruption:
        conditions = set_condition(
            conditions, DISRUPTED, "True", now=now, reason=BY_NODE, message=remembered.ending.message,
            observedGeneration=generation,
        )  # fmt: skip
    return _of_resize(pod, conditions, observed, remembered, now)


def _of_resize(
    pod: Object, conditions: list[Object], observed: Observed, remembered: Remembered, now: str
) -> list[Object]:
    """With what is to be said of a resize that waits or is under way; otherwise without those conditions."""
    held = resize.with_resources(pod, remembered.allocated)
    under_way = remembered.resizing or bool(resize.differing(held, observed, remembered.actuated))
    problem = remembered.resize_problem if under_way else ""
    said: dict[str, tuple[str, str]] = {}
    if remembered.refused:
        said[resize.PENDING] = (remembered.refused.reason, remembered.refused.message)
    if under_way:
        said[resize.IN_PROGRESS] = ("Error" if problem else "", problem)
    kept = [one for one in conditions if one["type"] not in (resize.PENDING, resize.IN_PROGRESS) or one["type"] in said]
    for kind, (reason, message) in said.items():
        generation = pod["metadata"].get("generation") or None
        kept = set_condition(kept, kind, True, now=now, reason=reason, message=message, observedGeneration=generation)
    return kept


def _verdict(reason: str, problem: str, names: list[str]) -> tuple[str, str, str]:
    return ("False", reason, f"{problem}: [{' '.join(names)}]") if names else ("True", "", "")


def _with_gates(pod: Object, ready: tuple[str, str, str]) -> tuple[str, str, str]:
    """Ready also asks for every readiness gate's condition."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    for gate in pod["spec"].get("readinessGates") or ():
        kind = gate["conditionType"]
        found = find(conditions, kind)
        if ready[0] == "True" and (found is None or found["status"] != "True"):
            return (
                "False",
                "ReadinessGatesNotReady",
                f'corresponding condition of pod readiness gate "{kind}" does not exist.',
            )
    return ready
