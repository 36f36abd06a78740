"""Which node a pod is tied to by its affinity, as a DaemonSet ties its pods."""

from __future__ import annotations

from collections.abc import Sequence

from kontinuum.api.kubernetes.node_fit import NAME_FIELD, REQUIRED
from kontinuum.api.machinery.objects import Object


def on_node(affinity: Object | None, node_name: str) -> Object:
    """``affinity`` that leaves a pod no other node than this one."""
    only = [{"key": NAME_FIELD, "operator": "In", "values": [node_name]}]
    found = dict(affinity or {})
    node_affinity = dict(found.get("nodeAffinity") or {})
    terms = (node_affinity.get(REQUIRED) or {}).get("nodeSelectorTerms") or [{}]
    node_affinity[REQUIRED] = {"nodeSelectorTerms": [{**term, "matchFields": only} for term in terms]}
    return {**found, "nodeAffinity": node_affinity}


def target_of(pod: Object) -> str:
    """The node that the pod is on, or the only one that it can come to; "" if there is none such."""
    spec = pod.get("spec") or {}
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    for fields in only_fields(spec):
        for one in fields:
            if (one["key"], one["operator"], len(one.get("values") or ())) == (NAME_FIELD, "In", 1):
                return str(one["values"][0])
    return ""


def only_fields(spec: Object) -> list[Sequence[Object]]:
    """The ``matchFields`` of the required terms, one list a term."""
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(REQUIRED) or {}
    return [term["matchFields"] for term in required.get("nodeSelectorTerms") or () if term.get("matchFields")]
