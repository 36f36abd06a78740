"""What the filters and scores of scope ROWS say to pods that ask for the same amounts, row by row.

Shared by all demands for these amounts: the pods of many Deployments come mixed, and each demand would otherwise be
told of every row that the pods of all others have taken since its own turn.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from kontinuum.scheduler.demand import Asked, Demand
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.scope import ALL, Points, Rows, as_rows, at
from kontinuum.scheduler.snapshot import Column, Snapshot

Filters = tuple[Callable[[Asked, Snapshot, Rows], Mask], ...]
Scores = tuple[tuple[int, Callable[[Asked, Snapshot, Rows], Column]], ...]
"""With what a point of each counts."""


def row_answers(demand: Demand, snapshot: Snapshot, filters: Filters, scores: Scores) -> RowAnswers:
    """The answers to these amounts; those that somebody has already, if anybody has."""
    all_answers: WeakValueDictionary[Hashable, Any] = snapshot.row_answers
    key = (demand.asked, filters, scores)
    found: RowAnswers | None = all_answers.get(key)
    if found is None:
        found = all_answers[key] = RowAnswers(demand, snapshot, filters, scores)
    return found


class RowAnswers:
    """See the module. True after ``catch_up``, until the snapshot changes."""

    def __init__(self, asked: Asked, snapshot: Snapshot, filters: Filters, scores: Scores) -> None:
        self._asked = asked
        self._snapshot = snapshot
        self._filters = filters
        self._scores = scores
        self._nodes_version = -1
        self._version = -1
        self.fit: Mask
        """The rows that all filters let the pods have."""
        self.points: Points
        """What all scores give each row, weighed."""
        self.fit_version = 0
        """Rises when ``fit`` changes."""

    def catch_up(self) -> None:
        """Ask again what has changed."""
        snapshot = self._snapshot
        if snapshot.nodes_version != self._nodes_version:
            self.fit = np.ones_like(snapshot.alive)
            self.points = np.zeros(len(snapshot.alive))
            self.fit_version += 1
            self._ask(ALL)
            self._nodes_version = snapshot.nodes_version
        elif snapshot.version != self._version:
            self._ask(as_rows(snapshot.changed_since(self._version)))
        self._version = snapshot.version

    def _ask(self, rows: Rows) -> None:
        asked, snapshot = self._asked, self._snapshot
        fit = at(snapshot.alive, rows)
        for fits in self._filters:
            fit = fit & fits(asked, snapshot, rows)
        before = at(self.fit, rows)
        if before != fit if isinstance(rows, int) else (before != fit).any():
            self.fit_version += 1
            self.fit[rows] = fit
        points = fit * 0
        for weight, of_rows in self._scores:
            points = points + weight * of_rows(asked, snapshot, rows)
        self.points[rows] = points
