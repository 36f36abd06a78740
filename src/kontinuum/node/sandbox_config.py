"""The CRI's PodSandboxConfig of a pod: pure."""

from __future__ import annotations

from pathlib import Path

from kontinuum.api.cri.messages import NUMBERS
from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object, annotations_of, labels_of
from kontinuum.node import cgroups, names, pods, qos
from kontinuum.node.observed import POD_NAME, POD_NAMESPACE, POD_UID
from kontinuum.node.port import Config
from kontinuum.node.settings import NodeSettings

SECCOMP = {"RuntimeDefault": 0, "Unconfined": 1, "Localhost": 2}


def log_directory(settings: NodeSettings, pod: Object) -> Path:
    metadata = pod["metadata"]
    return settings.pod_logs / f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"


def sandbox_config(pod: Object, attempt: int, settings: NodeSettings, host_resolver: Config) -> Config:
    metadata, spec = pod["metadata"], pod["spec"]
    identity = {POD_NAME: metadata["name"], POD_NAMESPACE: metadata["namespace"], POD_UID: metadata["uid"]}
    return {
        "metadata": {
            "name": metadata["name"],
            "uid": metadata["uid"],
            "namespace": metadata["namespace"],
            "attempt": attempt,
        },
        # With the host's network comes the host's name, which the runtime gives by itself.
        "hostname": "" if pods.is_host_network(pod) else names.kernel_name(pod, settings.cluster_domain),
        "log_directory": str(log_directory(settings, pod)),
        "dns_config": names.dns_config(pod, settings, host_resolver),
        "port_mappings": [] if pods.is_host_network(pod) else _port_mappings(pod),
        "labels": {**labels_of(pod), **identity},
        "annotations": annotations_of(pod),
        "linux": {
            "cgroup_parent": qos.cgroup_of(settings, pod),
            "security_context": _security(pod),
            "sysctls": {one["name"]: one["value"] for one in _pod_security(spec).get("sysctls") or ()},
            # A VM's shim learns from these how large its machine has to be.
            "overhead": _resources(spec.get("overhead") or {}),
            "resources": _sums(pod),
        },
    }


def namespace_options(pod: Object, target_id: str = "") -> Config:
    """Which namespaces the pod's containers share, as the CRI says it.

    ``target_id`` is the container whose processes an ephemeral container wants to see.
    """
    spec = pod["spec"]
    pid = "NODE" if spec.get("hostPID") else "POD" if spec.get("shareProcessNamespace") else "CONTAINER"
    if target_id and pid == "CONTAINER":
        pid = "TARGET"
    return {
        **({"target_id": target_id} if pid == "TARGET" else {}),
        "network": NUMBERS["NODE" if spec.get("hostNetwork") else "POD"],
        "ipc": NUMBERS["NODE" if spec.get("hostIPC") else "POD"],
        "pid": NUMBERS[pid],
    }


def seccomp(profile: Object | None, profiles: Path) -> Config:
    """A SecurityProfile; without one the process is unconfined, as the kubelet's default is.

    ``profiles`` is the directory of the node's own profiles, which ``localhostProfile`` names.
    """
    wanted = profile or {"type": "Unconfined"}
    name = wanted.get("localhostProfile")
    return {"profile_type": SECCOMP[wanted["type"]], "localhost_ref": str(profiles / name) if name else ""}


def _pod_security(spec: Object) -> Object:
    found: Object = spec.get("securityContext") or {}
    return found


def _security(pod: Object) -> Config:
    context = _pod_security(pod["spec"])
    security: Config = {
        "namespace_options": namespace_options(pod),
        "privileged": any((one.get("securityContext") or {}).get("privileged") for one in pods.all_containers(pod)),
        **supplemental_groups(pod),
        # Not the pod's own: that is made for its containers, and the sandbox's process may need other calls.
        "seccomp": {"profile_type": SECCOMP["RuntimeDefault"]},
    }
    for field, ours in (("run_as_user", "runAsUser"), ("run_as_group", "runAsGroup")):
        # A group without a user is refused by the CRI.
        if context.get(ours) is not None and context.get("runAsUser") is not None:
            security[field] = {"value": context[ours]}
    return security


def supplemental_groups(pod: Object) -> Config:
    """The fields of both security contexts that say which groups processes are in beside their own."""
    context = _pod_security(pod["spec"])
    groups = list(context.get("supplementalGroups") or ())
    groups += [context["fsGroup"]] if context.get("fsGroup") is not None else []
    policy = NUMBERS[context.get("supplementalGroupsPolicy") or "Merge"]
    return {"supplemental_groups": groups, "supplemental_groups_policy": policy}


def _port_mappings(pod: Object) -> list[Config]:
    return [
        {
            "protocol": NUMBERS[port.get("protocol") or "TCP"],
            "container_port": port["containerPort"],
            "host_port": port["hostPort"],
            "host_ip": port.get("hostIP") or "",
        }
        for container in pods.all_containers(pod)
        for port in container.get("ports") or ()
        if port.get("hostPort")
    ]


def _resources(amounts: dict[str, str]) -> Config:
    config: Config = {}
    if "cpu" in amounts:
        millicores = quantity.milli(amounts["cpu"])
        config |= {"cpu_shares": cgroups.shares(millicores), "cpu_quota": cgroups.quota(millicores)}
        config["cpu_period"] = cgroups.CPU_PERIOD
    if "memory" in amounts:
        config["memory_limit_in_bytes"] = quantity.value(amounts["memory"])
    return config


def _sums(pod: Object) -> Config:
    """What the containers may use together, without the overhead."""
    without = {**pod, "spec": {**pod["spec"], "overhead": {}}}
    limits = cgroups.pod_limits(without, 0)
    config: Config = {"cpu_shares": cgroups.shares(limits.cpu_request)}
    if limits.cpu_limit:
        config |= {"cpu_quota": cgroups.quota(limits.cpu_limit), "cpu_period": cgroups.CPU_PERIOD}
    if limits.memory_limit:
        config["memory_limit_in_bytes"] = limits.memory_limit
    return config
