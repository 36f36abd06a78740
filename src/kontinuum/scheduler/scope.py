"""What an answer about all nodes depends on: so much of it has to be asked again when something changes."""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.snapshot import Column

Rows = slice | list[int]
"""Some rows of the snapshot's columns."""
ALL = slice(None)


class Scope(Enum):
    """Listed from what is asked again least to most often."""

    NODES = auto()
    """On node objects alone (and, for a score, on which nodes fit)."""
    ROWS = auto()
    """Each row also on the pods that are there: answered row by row."""
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

    def points(self, feasible: Mask) -> Column:
        """0 to 100 for every row; only those of the mask mean anything."""
