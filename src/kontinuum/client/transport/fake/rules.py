"""What a server stores when it is asked to create, change or delete an object: pure functions of old and new.

The rules are those of Kubernetes' generic registry (k8s.io/apiserver ``registry/rest`` and ``registry/generic``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kontinuum.api.kubernetes import topology
from kontinuum.api.kubernetes.resources import NAMESPACES, NODES, PODS
from kontinuum.api.machinery.objects import Object, labels_of, name_of
from kontinuum.api.machinery.patches import copy
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.selectors import from_map, from_object
from kontinuum.api.machinery.status import conflict
from kontinuum.foundation.clock import rfc3339

_KEPT = ("name", "namespace", "uid", "creationTimestamp", "generation", "resourceVersion", "generateName")
_DELETION = ("deletionTimestamp", "deletionGracePeriodSeconds")


@dataclass(frozen=True, slots=True)
class Created:
    """The circumstances of a creation, so that ``prepare_create`` stays pure."""

    namespace: str
    uid: str
    suffix: str
    """What ``generateName`` is completed with."""
    now: float


def prepare_create(resource: Resource, obj: Object, circumstances: Created) -> Object:
    """The first stored version of ``obj``."""
    new = copy(obj)
    new["apiVersion"], new["kind"] = resource.api_version, resource.kind
    metadata = new.setdefault("metadata", {})
    for key in ("resourceVersion", *_DELETION):
        metadata.pop(key, None)
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = metadata["generateName"] + circumstances.suffix
    if resource.namespaced:
        metadata["namespace"] = circumstances.namespace
    metadata["uid"] = circumstances.uid
    metadata["creationTimestamp"] = rfc3339(circumstances.now)
    metadata["generation"] = 1
    if "status" in resource.subresources and resource != NODES:
        new["status"] = {}
    if resource == PODS:
        new["status"] = {"phase": "Pending"}
    if resource == NAMESPACES:
        new["spec"] = {"finalizers": ["kubernetes"]} | (new.get("spec") or {})
        new["status"] = {"phase": "Active"}
        metadata["labels"] = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": metadata["name"]}
    return new


def prepare_update(resource: Resource, old: Object, new: Object, subresource: str) -> Object:
    """The version that follows ``old`` when ``new`` is put to the object or to its subresource. Raises Conflict."""
    check_preconditions(resource, old, new["metadata"].get("uid"), new["metadata"].get("resourceVersion"))
    if subresource == "status":
        return {**old, "status": copy(new.get("status") or {})}
    if subresource == "approval":
        conditions = copy((new.get("status") or {}).get("conditions") or [])
        return {**old, "status": {**(old.get("status") or {}), "conditions": conditions}}
    if subresource == "scale":
        scaled = {**old, "spec": {**old["spec"], "replicas": new["spec"].get("replicas", 0)}}
        return prepare_update(resource, old, scaled, "")
    if subresource == "finalize":
        return {**old, "spec": copy(new.get("spec") or {})}
    result = copy(new)
    for key in (*_KEPT, *_DELETION):
        result["metadata"].pop(key, None)
        if key in old["metadata"]:
            result["metadata"][key] = old["metadata"][key]
    if "status" in resource.subresources:
        result.pop("status", None)
        if "status" in old:
            result["status"] = old["status"]
    if _desired(result) != _desired(old):
        result["metadata"]["generation"] = old["metadata"]["generation"] + 1
    return result


def scale_of(obj: Object) -> Object:
    """The Scale of a workload whose selector is a whole one or, as a ReplicationController's, a map of labels."""
    selector = obj["spec"].get("selector") or {}
    is_whole = "matchLabels" in selector or "matchExpressions" in selector
    text = str(from_object(selector) if is_whole else from_map(selector))
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: obj["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion")},
        "spec": {"replicas": obj["spec"].get("replicas", 1)},
        "status": {"replicas": (obj.get("status") or {}).get("replicas", 0), "selector": text},
    }


def check_preconditions(resource: Resource, old: Object, uid: str | None, resource_version: str | None) -> None:
    """Raises Conflict if the object is another one, or another version, than the caller believes."""
    metadata = old["metadata"]
    if uid and uid != metadata["uid"]:
        problem = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata['uid']}"
        raise conflict(resource, name_of(old), problem)
    if resource_version and resource_version != metadata["resourceVersion"]:
        raise conflict(resource, name_of(old))


def prepare_delete(resource: Resource, old: Object, options: Object, now: float) -> Object:
    """``old`` as deletion leaves it; ``is_gone`` then says whether that means removal. Raises Conflict."""
    preconditions = options.get("preconditions") or {}
    check_preconditions(resource, old, preconditions.get("uid"), preconditions.get("resourceVersion"))
    new = copy(old)
    metadata = new["metadata"]
    _set_finalizers(metadata, options.get("propagationPolicy") or "Background")
    grace = _grace_seconds(resource, old, options)
    if "deletionTimestamp" not in metadata:
        metadata["deletionTimestamp"] = rfc3339(now + grace)
        metadata["deletionGracePeriodSeconds"] = grace
        metadata["generation"] += 1
    elif grace < metadata["deletionGracePeriodSeconds"]:
        # A second deletion may only hasten the first one.
        metadata["deletionTimestamp"] = rfc3339(now + grace)
        metadata["deletionGracePeriodSeconds"] = grace
    if resource == NAMESPACES:
        new["status"] = {**(new.get("status") or {}), "phase": "Terminating"}
    return new


def is_gone(resource: Resource, obj: Object) -> bool:
    """True if nothing holds an object any more whose deletion was asked for."""
    metadata = obj["metadata"]
    if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
        return False
    if resource == NAMESPACES and obj["spec"].get("finalizers"):
        return False
    return not metadata["deletionGracePeriodSeconds"]


def bind(pod: Object, binding: Object, node_labels: Mapping[str, str]) -> Object:
    """The pod on the node that ``binding`` names, which has these labels.

    Raises Conflict if it is on one already or on its way out.
    """
    if "deletionTimestamp" in pod["metadata"]:
        raise conflict(PODS, name_of(pod), f"pod {name_of(pod)} is being deleted, cannot be assigned to a host")
    if pod.get("spec", {}).get("nodeName"):
        problem = f'pod {name_of(pod)} is already assigned to node "{pod["spec"]["nodeName"]}"'
        raise conflict(PODS, name_of(pod), problem)
    new = copy(pod)
    new["spec"]["nodeName"] = binding["target"]["name"]
    if labels := topology.labels_on(node_labels, labels_of(pod)):
        new["metadata"]["labels"] = labels
    conditions = [c for c in new["status"].get("conditions", []) if c["type"] != "PodScheduled"]
    new["status"]["conditions"] = [*conditions, {"type": "PodScheduled", "status": "True"}]
    new["status"].pop("nominatedNodeName", None)
    return new


def _desired(obj: Object) -> Object:
    return {key: value for key, value in obj.items() if key not in ("metadata", "status", "kind", "apiVersion")}


def _set_finalizers(metadata: Object, propagation: str) -> None:
    wanted = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(propagation)
    others = [f for f in metadata.get("finalizers") or () if f not in ("foregroundDeletion", "orphan")]
    finalizers = [*others, wanted] if wanted else others
    metadata.pop("finalizers", None)
    if finalizers:
        metadata["finalizers"] = finalizers


def _grace_seconds(resource: Resource, obj: Object, options: Object) -> int:
    """Only pods that run on a node are given time to stop (``registry/core/pod/strategy.go``)."""
    if resource != PODS or not obj.get("spec", {}).get("nodeName"):
        return 0
    if obj.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    asked = options.get("gracePeriodSeconds")
    grace: int = obj["spec"].get("terminationGracePeriodSeconds", 30) if asked is None else asked
    return grace
