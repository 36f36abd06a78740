"""One demand against the whole cluster, remembered: the next like it costs only what has changed since.

    a node changed ──▶ everything is asked anew
    pods changed   ──▶ answers of scope ROWS on those rows, once for all demands for the same amounts (``row_answers``);
                       followers are told of the rows, CLUSTER is asked anew
    nothing        ──▶ what was found last time

Whatever happened before, an evaluation says exactly what the filters and scores say when asked afresh.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.filters import FILTERS, Filter
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.row_answers import row_answers
from kontinuum.scheduler.scope import FollowingFilter, FollowingScore, Scope
from kontinuum.scheduler.scores import SCORES, Score
from kontinuum.scheduler.snapshot import Column, Snapshot

KEPT_ROWS, LEAST_KEPT, MOST_KEPT = 655_360, 16, 1024
"""Evaluations are remembered up to so many rows in all (some 50 bytes each, so about 30 MB), and so many of them."""


@dataclass(frozen=True)
class Plugins:
    """What decides, in this order."""

    filters: tuple[Filter, ...] = FILTERS
    scores: tuple[Score, ...] = SCORES


DEFAULT = Plugins()


def evaluation(demand: Demand, snapshot: Snapshot, plugins: Plugins = DEFAULT) -> Evaluation:
    """The evaluation of a demand; that of an equal one, if it is remembered."""
    key = (demand, id(plugins))  # an evaluation keeps its plugins, so that nothing else can get their id
    found: Evaluation | None = snapshot.remembered.get(key)
    if found is None:
        found = snapshot.remembered[key] = Evaluation(demand, snapshot, plugins)
        if len(snapshot.remembered) > min(MOST_KEPT, max(LEAST_KEPT, KEPT_ROWS // len(snapshot.names))):
            snapshot.remembered.popitem(last=False)
    else:
        snapshot.remembered.move_to_end(key)
    return found


class _Counts:
    """What a score counts of nodes, which no pod changes."""

    def __init__(self, weight: int, counts: Column, scale: Callable[[Column, int], Column]) -> None:
        self.weight = weight
        self.counts = counts
        self.scale = scale
        self._highest = int(counts.max(initial=0))
        self._is_highest = counts == self._highest

    def most(self, feasible: Mask) -> int:
        """The highest count of nodes that fit."""
        if not self._highest or (self._is_highest & feasible).any():
            return self._highest
        return int((self.counts * feasible).max())


class Evaluation:
    """See the module."""

    def __init__(self, demand: Demand, snapshot: Snapshot, plugins: Plugins = DEFAULT) -> None:
        self._demand = demand
        self._snapshot = snapshot
        self._plugins = plugins
        self._known: tuple[int, ...] = ()
        self._version = -1
        self._fit_version = -1

    def feasible(self) -> Mask:
        """The nodes that fit now."""
        self._catch_up()
        return self._feasible

    def best(self) -> tuple[int, int] | None:
        """The row of the best node now, and its points; None if none fits. Of equals, the first row."""
        self._catch_up()
        if not self._is_any:
            return None
        points = self._by_nodes + self._by_rows.points
        for weight, following in self._following_scores:
            more = following.points(self._feasible)
            if more is not None:
                points += weight * more
        for score in self._other_scores:
            points += score.weight * score.points(self._demand, self._snapshot, self._feasible)
        row = int(((points + 1.0) * self._is_feasible).argmax())
        return row, int(points[row])

    def _catch_up(self) -> None:
        snapshot = self._snapshot
        selecting = snapshot.selecting.version(self._demand.namespace)
        known = (snapshot.nodes_version, snapshot.census.generation, selecting)
        if known != self._known:
            self._ask_all()
            self._known = known
        elif snapshot.version != self._version:
            self._tell(snapshot.changed_since(self._version))
        elif not self._other_filters:
            return
        self._version = snapshot.version
        self._by_rows.catch_up()
        if self._by_rows.fit_version != self._fit_version or self._following_filters or self._other_filters:
            self._fit_version = self._by_rows.fit_version
            self._find_feasible()

    def _ask_all(self) -> None:
        demand, snapshot = self._demand, self._snapshot
        filters = [one for one in self._plugins.filters if one.applies(demand, snapshot)]
        scores = [one for one in self._plugins.scores if one.applies(demand, snapshot)]
        self._by_nodes_fit = snapshot.alive.copy()
        row_filters = []
        self._following_filters: list[FollowingFilter] = []
        self._other_filters = []
        for one in filters:
            if one.scope is Scope.NODES:
                self._by_nodes_fit &= one.fits(demand, snapshot)
            elif one.fits_rows is not None:
                row_filters.append(one.fits_rows)
            elif one.follow is not None:
                self._following_filters.append(one.follow(demand, snapshot))
            else:
                self._other_filters.append(one.fits)
        self._node_scores: list[_Counts] = []
        row_scores = []
        self._following_scores: list[tuple[int, FollowingScore]] = []
        self._other_scores = []
        for score in scores:
            if score.raw is not None and score.scale is not None:
                self._node_scores.append(_Counts(score.weight, score.raw(demand, snapshot), score.scale))
            elif score.points_rows is not None:
                row_scores.append((score.weight, score.points_rows))
            elif score.follow is not None:
                self._following_scores.append((score.weight, score.follow(demand, snapshot)))
            else:
                self._other_scores.append(score)
        self._by_rows = row_answers(demand, snapshot, tuple(row_filters), tuple(row_scores))
        self._fit_version = -1
        self._feasible = np.zeros_like(snapshot.alive)
        self._pattern = b""
        self._is_any = False
        self._most: list[int] = []
        self._by_nodes = np.zeros(len(snapshot.alive))

    def _tell(self, rows: list[int]) -> None:
        for filtering in self._following_filters:
            filtering.update(rows)
        for _, scoring in self._following_scores:
            scoring.update(rows)

    def _find_feasible(self) -> None:
        feasible = self._by_nodes_fit & self._by_rows.fit
        for following in self._following_filters:
            feasible &= following.mask()
        for fits in self._other_filters:
            feasible &= fits(self._demand, self._snapshot)
        pattern = feasible.tobytes()  # compared in a tenth of the time
        if self._is_any and pattern == self._pattern:
            return
        self._pattern = pattern
        self._feasible = feasible
        self._is_any = bool(feasible.any())
        self._is_feasible = feasible.astype(np.float64)
        if self._is_any:
            self._scale(feasible)

    def _scale(self, feasible: Mask) -> None:
        """The points that nodes alone decide, which depend on the nodes that fit by their highest count only."""
        most = [one.most(feasible) for one in self._node_scores]
        if most != self._most:
            self._most = most
            self._by_nodes = np.zeros(len(feasible))
            for one, highest in zip(self._node_scores, most, strict=True):
                self._by_nodes += one.weight * one.scale(one.counts, highest)
