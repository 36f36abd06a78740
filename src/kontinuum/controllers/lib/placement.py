"""May a pod be on a node? For one pod and one node, as a DaemonSet asks; the scheduler asks for all nodes at once.

The rules are those of Kubernetes' ``component-helpers/scheduling/corev1/nodeaffinity``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kontinuum.api.kubernetes.tolerations import tolerates
from kontinuum.api.machinery.objects import Object, labels_of, name_of
from kontinuum.api.machinery.selectors import Requirement

OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": ">", "Lt": "<"}
NAME_FIELD = "metadata.name"


def fits_affinity(spec: Object, node: Object) -> bool:
    """The pod's node selector and its required node affinity."""
    selector = spec.get("nodeSelector") or {}
    if not selector.items() <= labels_of(node).items():
        return False
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(REQUIRED)
    if required is None:
        return True
    return any(_matches(term, node) for term in required.get("nodeSelectorTerms") or ())


REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def _matches(term: Object, node: Object) -> bool:
    labels, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not labels and not fields:
        return False  # An empty term is satisfied nowhere.
    return _all(labels, labels_of(node)) and _all(fields, {NAME_FIELD: name_of(node)})


def _all(expressions: Iterable[Object], values: Mapping[str, str]) -> bool:
    return all(
        Requirement(one["key"], OPERATORS[one["operator"]], tuple(one.get("values") or ())).matches(values)
        for one in expressions
    )


def untolerated(tolerations: Sequence[Object], node: Object, effects: Sequence[str]) -> bool:
    """The node has a taint of one of ``effects`` that none of ``tolerations`` stands."""
    taints = (node.get("spec") or {}).get("taints") or ()
    return any(
        taint["effect"] in effects and not any(tolerates(toleration, taint) for toleration in tolerations)
        for taint in taints
    )


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
