"""Who makes way for a pod that the node itself needs: a static one, or one of the system's own priority. Pure.

The rules are the kubelet's (``pkg/kubelet/preemption``): as few as possible of those who are guaranteed what they ask
for, then of those who may take more, then of the others; among equals whose end gives back most nearly what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.errors import Refused
from kontinuum.node import cgroups, pods
from kontinuum.node.eviction.ranking import is_critical, priority

REASON = "Preempting"
MESSAGE = "Preempted in order to admit critical pod"
SMALLER_FIRST = ("memory", "cpu")
"""What is compared where the end of two gives back as much of what is missing."""

Amounts = Mapping[str, int]
"""Of each resource what is still missing, more than 0: millicores of ``cpu``, ``pods``, bytes of everything else."""


class NobodyLeft(Refused):
    """All who would have to make way are not enough. The message is the kubelet's."""


def request(pod: Object, kind: str) -> int:
    """What the pod takes of a resource, as ``Amounts`` count."""
    return 1 if kind == "pods" else cgroups.pod_request(pod, kind)


def victims(pod: Object, others: Iterable[Object], missing: Amounts) -> list[Object]:
    """Of ``others`` those whose end gives ``pod`` what is missing; nobody if nothing is. Raises NobodyLeft."""
    classes: dict[str, list[Object]] = {"BestEffort": [], "Burstable": [], "Guaranteed": []}
    for one in others:
        if _makes_way(one, pod):
            classes[pods.qos_class(one)].append(one)
    effortless, burstable, guaranteed = classes.values()
    # Of each class only those without whom the classes below, and the chosen of those above, would not be enough.
    chosen = _nearest(guaranteed, _less(missing, [*effortless, *burstable]))
    chosen += _nearest(burstable, _less(missing, [*effortless, *chosen]))
    return chosen + _nearest(effortless, _less(missing, chosen))


def _makes_way(one: Object, pod: Object) -> bool:
    return not is_critical(one) or priority(one) < priority(pod)


def _less(missing: Amounts, given_back: Iterable[Object]) -> dict[str, int]:
    left = dict(missing)
    for one in given_back:
        left = {kind: amount - request(one, kind) for kind, amount in left.items()}
    return {kind: amount for kind, amount in left.items() if amount > 0}


def _nearest(candidates: Sequence[Object], missing: Amounts) -> list[Object]:
    left, chosen = list(candidates), []
    while missing:
        if not left:
            amounts = "".join(f"(res: {kind}, q: {amount}), " for kind, amount in missing.items())
            raise NobodyLeft(f"no set of running pods found to reclaim resources: [{amounts}]")
        best = min(left, key=lambda one: (_distance(one, missing), [request(one, kind) for kind in SMALLER_FIRST]))
        left.remove(best)
        chosen.append(best)
        missing = _less(missing, [best])
    return chosen


def _distance(one: Object, missing: Amounts) -> float:
    """0 if its end is enough, and at most 1 for each resource."""
    return sum((max(0, amount - request(one, kind)) / amount) ** 2 for kind, amount in missing.items())
