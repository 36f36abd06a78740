"""May a pod be on a node? For one pod and one node, as a DaemonSet and a node ask; the scheduler asks for all at once.

The rules are those of Kubernetes' ``component-helpers/scheduling/corev1/nodeaffinity``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kontinuum.api.kubernetes.tolerations import tolerates
from kontinuum.api.machinery.objects import Object, labels_of, name_of
from kontinuum.api.machinery.selectors import Requirement

OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": ">", "Lt": "<"}
NAME_FIELD = "metadata.name"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def fits_affinity(spec: Object, node: Object) -> bool:
    """The pod's node selector and its required node affinity."""
    selector = spec.get("nodeSelector") or {}
    if not selector.items() <= labels_of(node).items():
        return False
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(REQUIRED)
    if required is None:
        return True
    return any(_matches(term, node) for term in required.get("nodeSelectorTerms") or ())


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
