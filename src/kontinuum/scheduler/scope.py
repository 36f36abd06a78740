"""What an answer about all nodes depends on: so much of it has to be asked again when something changes."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from kontinuum.scheduler.labels import Mask

Rows = int | slice | NDArray[np.intp]
"""Some rows of the snapshot's columns, to index them with. Of one row, ``at`` answers a number instead of a column, and
arithmetic with that is many times faster: what is said of rows must be said in words that are true of both."""
ALL = slice(None)

Entries = TypeVar("Entries", bound=NDArray[Any])

Points = NDArray[np.float64]
"""Whole numbers, one a row. As floats, because numpy adds, scales and compares those several times faster."""


def as_rows(rows: list[int]) -> Rows:
    """The fastest way to index with these rows."""
    return rows[0] if len(rows) == 1 else np.array(rows, np.intp)


def at(column: Entries, rows: Rows) -> Entries:
    """What a column says of these rows; of one row a Python number, which is to be taken for a column of one."""
    entries: Any = column.item(rows) if isinstance(rows, int) else column[rows]
    found: Entries = entries
    return found


def lower(one: Any, other: Any) -> Any:
    """The lower of each two, of columns or numbers."""
    return np.minimum(one, other) if isinstance(one, np.ndarray) else min(one, other)


def higher(one: Any, other: Any) -> Any:
    """The higher of each two, of columns or numbers."""
    return np.maximum(one, other) if isinstance(one, np.ndarray) else max(one, other)


def whole(one: Any) -> Any:
    """A column's numbers, or a number, without what comes after the point."""
    return one.astype(np.int64) if isinstance(one, np.ndarray) else int(one)


class Scope(Enum):
    """Listed from what is asked again least to most often."""

    NODES = auto()
    """On node objects alone (and, for a score, on which nodes fit)."""
    ROWS = auto()
    """Each row also on the pods that are there, and of the demand on its amounts alone: answered row by row, once for
    all demands for the same."""
    CLUSTER = auto()
    """On anything: asked again for each decision."""


class FollowingFilter(Protocol):
    """A filter's answer to one demand that keeps up with the pods, until a node changes."""

    def update(self, rows: list[int]) -> None:
        """Pods have come to these rows, or left them."""

    def mask(self) -> Mask:
        """The nodes that can take the pod."""


class FollowingScore(Protocol):
    """The same of a score."""

    def update(self, rows: list[int]) -> None:
        """Pods have come to these rows, or left them."""

    def points(self, feasible: Mask) -> Points | None:
        """0 to 100 for every row; only those of the mask mean anything. None if all have 0.

        The mask will not change: the same object means the same nodes.
        """
