"""How many pods there are in each domain of a topology: in each zone, say, or on each host."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kontinuum.scheduler.census import Tally
from kontinuum.scheduler.labels import ABSENT, Mask
from kontinuum.scheduler.snapshot import Column, Snapshot

Answer = TypeVar("Answer", bound=np.generic)


class Domains:
    """Pods of some tallies by the value that their node has for a label. Told of changed rows, it keeps up.

    Good until a node changes. Domains have the numbers of ``LabelColumns``; one more, at the end, stands for nodes
    without the label and stays empty.
    """

    def __init__(self, snapshot: Snapshot, key: str, *, counted: Mask | None = None) -> None:
        """``counted``: only pods on these rows count; None: on all."""
        self.number: NDArray[np.intp] = snapshot.labels.numbers(key)
        """For each row, the number of its domain; -1, which is the last one's too, without the label."""
        self.pods: Column = np.zeros(snapshot.labels.count(key) + 1, np.int64)
        """For each domain: the pods in it, each as often as its tally weighs."""
        self._counted = counted
        self._tallies: list[tuple[Tally, int]] = []
        self._on_row: dict[int, int] = {}

    def count(self, tally: Tally, weight: int = 1) -> None:
        """Count the pods of this tally too."""
        self._tallies.append((tally, weight))
        self.update(tally.rows)

    def update(self, rows: Iterable[int]) -> None:
        """Pods have come to these rows, or left them."""
        for row in rows:
            before, now = self._on_row.get(row, 0), 0
            for tally, weight in self._tallies:
                now += weight * tally.rows.get(row, 0)
            if now != before:
                self._on_row[row] = now
                number = self.number[row]
                if number != ABSENT and (self._counted is None or self._counted[row]):
                    self.pods[number] += now - before

    def at_nodes(self, of_domains: NDArray[Answer]) -> NDArray[Answer]:
        """What is so for each domain, for each row."""
        return of_domains.take(self.number, mode="wrap")
