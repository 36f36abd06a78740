"""Which objects have to be known to say how much of a ResourceQuota is used, and what its status then is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.kubernetes.amounts import Amounts
from kontinuum.api.kubernetes.quota.usage import DEVICE_SUFFIX, OLD_NAMES, STORAGE_SUFFIX, count_name
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource

_OF_OBJECTS: Mapping[str, Resource] = {
    **{one.plural: one for one in OLD_NAMES},
    "services": r.SERVICES,
    "services.nodeports": r.SERVICES,
    "services.loadbalancers": r.SERVICES,
    "persistentvolumeclaims": r.PERSISTENTVOLUMECLAIMS,
    "requests.storage": r.PERSISTENTVOLUMECLAIMS,
}


def resources_of(hard: Iterable[str], served: Iterable[Resource]) -> set[Resource]:
    """The resources that the names of ``hard`` are about; ``served`` is all that the API serves."""
    # Those that we know come last: what discovery tells of them is less.
    counted = {count_name(one): one for one in (*served, *r.STORED)}
    return {found for name in hard if (found := _resource_of(name, counted)) is not None}


def _resource_of(name: str, counted: Mapping[str, Resource]) -> Resource | None:
    if name.startswith("count/"):
        return counted.get(name)
    if name in _OF_OBJECTS:
        return _OF_OBJECTS[name]
    if STORAGE_SUFFIX in name:
        return r.PERSISTENTVOLUMECLAIMS
    # All other names are about what containers ask for.
    return r.RESOURCECLAIMS if name.endswith(DEVICE_SUFFIX) else r.PODS


def status_of(quota: Object, used: Amounts) -> Object | None:
    """The quota's status, None if it says so already. What nothing uses is used 0."""
    hard = (quota.get("spec") or {}).get("hard") or {}
    wanted = {"hard": dict(hard), "used": {name: used.get(name, "0") for name in hard}}
    return wanted if quota.get("status") != wanted else None


def without_the_rest(pod: Object) -> Object:
    """Only what a pod's usage depends on."""
    spec, status, metadata = pod.get("spec") or {}, pod.get("status") or {}, pod["metadata"]
    kept = {key: spec[key] for key in _KEPT if key in spec}
    for field in ("containers", "initContainers"):
        if field in spec:
            kept[field] = [
                {key: one[key] for key in ("resources", "restartPolicy") if key in one} for one in spec[field]
            ]
    identity = {key: metadata[key] for key in _IDENTITY if key in metadata}
    return {**pod, "metadata": identity, "spec": kept, "status": {"phase": status.get("phase")}}


_KEPT = ("overhead", "resources", "activeDeadlineSeconds", "priorityClassName", "affinity")
_IDENTITY = ("name", "namespace", "uid", "resourceVersion", "deletionTimestamp")
