"""nodeSelector and required node affinity."""

from __future__ import annotations

import numpy as np

from kontinuum.scheduler.demand import Demand, Expression, Term
from kontinuum.scheduler.filters.port import Filter, Reasons
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.scope import Scope
from kontinuum.scheduler.snapshot import Snapshot


def term_matches(term: Term, snapshot: Snapshot) -> Mask:
    """Nodes that satisfy every expression of a term; an empty term is satisfied nowhere."""
    if not term.labels and not term.fields:
        return np.zeros_like(snapshot.alive)
    mask = np.ones_like(snapshot.alive)
    for expression in term.labels:
        mask &= _label_matches(expression, snapshot)
    for expression in term.fields:
        mask &= _name_matches(expression, snapshot)
    return mask


def fits(demand: Demand, snapshot: Snapshot) -> Mask:
    mask = np.ones_like(snapshot.alive)
    for key, value in demand.selector:
        mask &= snapshot.labels.equals_any(key, [value])
    if demand.required is not None:
        any_term = np.zeros_like(snapshot.alive)
        for term in demand.required:
            any_term |= term_matches(term, snapshot)
        mask &= any_term
    return mask


def reasons(demand: Demand, snapshot: Snapshot) -> Reasons:
    return [("node(s) didn't match Pod's node affinity/selector", ~fits(demand, snapshot))]


def _label_matches(expression: Expression, snapshot: Snapshot) -> Mask:
    labels, key, values = snapshot.labels, expression.key, expression.values
    match expression.operator:
        case "In":
            return labels.equals_any(key, values)
        case "NotIn":
            return ~labels.equals_any(key, values)
        case "Exists":
            return labels.has(key)
        case "DoesNotExist":
            return ~labels.has(key)
        case "Gt" | "Lt":
            return labels.compares(key, expression.operator, values[0])
        case _:
            return np.zeros_like(snapshot.alive)  # validation lets nothing else through


def _name_matches(expression: Expression, snapshot: Snapshot) -> Mask:
    """The only field that can be selected is ``metadata.name``."""
    mask = np.zeros_like(snapshot.alive)
    if expression.key == "metadata.name":
        mask[[snapshot.row_of[name] for name in expression.values if name in snapshot.row_of]] = True
    return ~mask if expression.operator == "NotIn" else mask


def applies(demand: Demand, snapshot: Snapshot) -> bool:
    return bool(demand.selector) or demand.required is not None


FILTER = Filter("NodeAffinity", fits, reasons, applies=applies, scope=Scope.NODES)
