"""What one object uses, by the names that a quota's ``hard`` has (Kubernetes' ``pkg/quota/v1/evaluator``).

any object               count/<plural>[.<group>]; for some also the old name, the plural alone
pod                      pods, cpu, requests.*, limits.*: not once it has ended or its grace is over
service                  services.nodeports, services.loadbalancers
persistentvolumeclaim    requests.storage, also by class: <class>.storageclass.storage.k8s.io/...
resourceclaim            <class>.deviceclass.resource.k8s.io/devices
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.kubernetes.amounts import Amounts, add, raise_to
from kontinuum.api.kubernetes.claims import class_of, size_of
from kontinuum.api.kubernetes.pod_resources import pod_limits, pod_requests
from kontinuum.api.kubernetes.validation.quantities import HUGE, is_extended
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.foundation.clock import parse_rfc3339

OLD_NAMES = frozenset({r.CONFIGMAPS, r.RESOURCEQUOTAS, r.REPLICATIONCONTROLLERS, r.SECRETS})
"""Counted under their plural too. Pods, services and claims are as well, by what they say themselves."""
UNCOUNTED = frozenset({r.EVENTS, r.EVENTS_V1})
"""Kubernetes' default for what no quota ever counts."""
STORAGE_SUFFIX = ".storageclass.storage.k8s.io/"
DEVICE_SUFFIX = ".deviceclass.resource.k8s.io/devices"


def count_name(resource: Resource) -> str:
    """``count/deployments.apps``."""
    return f"count/{resource.qualified}"


def counts_of(resource: Resource) -> Amounts:
    """What every object of ``resource`` uses, whatever is in it."""
    counted = {count_name(resource): "1"}
    return {**counted, resource.plural: "1"} if resource in OLD_NAMES else counted


def is_read(resource: Resource) -> bool:
    """Whether what an object uses depends on more than that it is there."""
    return resource in _EVALUATORS


def usage_of(resource: Resource, obj: Object, now: float) -> Amounts:
    """All that ``obj`` uses; ``now`` in seconds since the epoch."""
    evaluator = _EVALUATORS.get(resource)
    return {**counts_of(resource), **(evaluator(obj, now) if evaluator is not None else {})}


def is_over(pod: Object, now: float) -> bool:
    """A pod uses nothing once it has ended, or once it should have: its node may be gone."""
    if (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
        return True
    deletion = pod["metadata"].get("deletionTimestamp")
    # The time of deletion is when the grace ends.
    return bool(deletion) and parse_rfc3339(deletion) < now


def of_containers(requests: Mapping[str, str], limits: Mapping[str, str]) -> Amounts:
    """What a container, or all of a pod's together, comes to."""
    found: Amounts = {"pods": "1"}
    for name in ("cpu", "memory", "ephemeral-storage"):
        if name in requests:
            found[name] = found[f"requests.{name}"] = requests[name]
        if name in limits:
            found[f"limits.{name}"] = limits[name]
    for name, amount in requests.items():
        if name.startswith(HUGE):
            found[name] = amount
        if name.startswith(HUGE) or is_extended(name):
            found[f"requests.{name}"] = amount
    return found


def _pod(pod: Object, now: float) -> Amounts:
    spec = pod.get("spec") or {}
    return {} if is_over(pod, now) else of_containers(pod_requests(spec), pod_limits(spec))


def _service(service: Object, now: float) -> Amounts:
    spec = service.get("spec") or {}
    ports: list[Any] = spec.get("ports") or []
    node_ports = balancers = 0
    if spec.get("type") == "NodePort":
        node_ports = len(ports)
    elif spec.get("type") == "LoadBalancer":
        balancers = 1
        is_given = spec.get("allocateLoadBalancerNodePorts") is not False
        node_ports = len(ports) if is_given else sum(1 for port in ports if port.get("nodePort"))
    return {"services": "1", "services.nodeports": str(node_ports), "services.loadbalancers": str(balancers)}


def _claim(claim: Object, now: float) -> Amounts:
    """While a larger size is being made real, what was allotted counts if it is more."""
    allotted = ((claim.get("status") or {}).get("allocatedResources") or {}).get("storage")
    asked = {"requests.storage": size_of(claim)}
    size = raise_to(asked, {"requests.storage": allotted})["requests.storage"] if allotted else size_of(claim)
    found = {"persistentvolumeclaims": "1", "requests.storage": size}
    if name := class_of(claim):
        found.update({f"{name}{STORAGE_SUFFIX}{key}": amount for key, amount in list(found.items())})
    return found


def _devices(claim: Object, now: float) -> Amounts:
    """Of alternatives, the largest number may be given; of "all", as many as one claim can have."""
    found: Amounts = {}
    for request in ((claim.get("spec") or {}).get("devices") or {}).get("requests") or ():
        largest: Amounts = {}
        for one in request.get("firstAvailable") or [request.get("exactly") or {}]:
            if one.get("deviceClassName"):
                count = 32 if one.get("allocationMode") == "All" else one.get("count") or 1
                largest = raise_to(largest, {f"{one['deviceClassName']}{DEVICE_SUFFIX}": str(count)})
        found = add(found, largest)
    return found


_EVALUATORS: Mapping[Resource, Callable[[Object, float], Amounts]] = {
    r.PODS: _pod,
    r.SERVICES: _service,
    r.PERSISTENTVOLUMECLAIMS: _claim,
    r.RESOURCECLAIMS: _devices,
}
READ: frozenset[Resource] = frozenset(_EVALUATORS)
"""The resources whose objects have to be read."""
