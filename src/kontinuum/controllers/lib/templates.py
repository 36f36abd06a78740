"""Pod templates: when two are the same, and the pod that is made from one."""

from __future__ import annotations

from kontinuum.api.kubernetes.resources import PODS
from kontinuum.api.machinery.objects import Object, name_of, namespace_of
from kontinuum.api.machinery.patches import copy
from kontinuum.controllers.lib.names import without_nulls

HASH_LABEL = "pod-template-hash"


def same_template(one: Object, other: Object) -> bool:
    """True if the templates mean the same pods, whatever their hash labels say."""
    return _without_hash(one) == _without_hash(other)


def pod_from_template(template: Object, owner: Object, reference: Object, name: str) -> Object:
    """The pod ``name`` that ``owner`` wants by its template, controlled through ``reference``."""
    wanted = template.get("metadata") or {}
    metadata: Object = {"name": name, "generateName": f"{name_of(owner)}-", "namespace": namespace_of(owner)}
    for key in ("labels", "annotations", "finalizers"):
        if wanted.get(key):
            metadata[key] = copy(wanted[key])
    metadata["ownerReferences"] = [reference]
    spec = copy(template.get("spec") or {})
    return {"apiVersion": PODS.api_version, "kind": PODS.kind, "metadata": metadata, "spec": spec}


def _without_hash(template: Object) -> Object:
    clean: Object = without_nulls(template)
    metadata = dict(clean.get("metadata") or {})
    labels = {key: value for key, value in (metadata.pop("labels", None) or {}).items() if key != HASH_LABEL}
    return {**clean, "metadata": {**metadata, "labels": labels}}
