"""Node affinity that names nodes (``matchFields``), as DaemonSets do: Kubernetes looks at no others at all.

That is so before any filter, and has words of its own (the PreFilter of its plugin NodeAffinity).
"""

from __future__ import annotations

import numpy as np

from kontinuum.scheduler.demand import Demand, Term
from kontinuum.scheduler.filters.port import Filter, Reasons
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.scope import Scope
from kontinuum.scheduler.snapshot import Snapshot


def names(demand: Demand) -> frozenset[str] | None:
    """The only nodes that the pod can be on; None if its terms name none."""
    if not demand.required:
        return None
    of_terms = [_names(term) for term in demand.required]
    if any(one is None for one in of_terms):
        return None  # the terms are alternatives: this one allows any node
    return frozenset[str]().union(*(one for one in of_terms if one is not None))


def _names(term: Term) -> frozenset[str] | None:
    wanted = [frozenset(one.values) for one in term.fields if one.key == "metadata.name" and one.operator == "In"]
    return frozenset[str].intersection(*wanted) if wanted else None


def applies(demand: Demand, snapshot: Snapshot) -> bool:
    return names(demand) is not None


def fits(demand: Demand, snapshot: Snapshot) -> Mask:
    named = names(demand)
    if named is None:
        return np.ones_like(snapshot.alive)
    mask = np.zeros_like(snapshot.alive)
    mask[[snapshot.row_of[name] for name in named if name in snapshot.row_of]] = True
    return mask


def reasons(demand: Demand, snapshot: Snapshot) -> Reasons:
    return [("node(s) didn't satisfy plugin(s) [NodeAffinity]", ~fits(demand, snapshot))]


def refuses_all(demand: Demand, snapshot: Snapshot) -> str:
    named = names(demand)
    return "pod affinity terms conflict" if named is not None and not named else ""


FILTER = Filter("NodeAffinity", fits, reasons, refuses_all=refuses_all, applies=applies, scope=Scope.NODES)
