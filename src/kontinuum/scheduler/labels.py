"""The labels of all nodes, one column a key: comparing every node with a value is one numpy operation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
ABSENT = -1
INTEGER = re.compile(r"[+-]?[0-9]+")


class _Column:
    """One label key. Each value has a number; nodes without the key have ABSENT."""

    def __init__(self, capacity: int) -> None:
        self.numbers: NDArray[np.intp] = np.full(capacity, ABSENT, np.intp)
        self.values: dict[str, int] = {}
        self._uses: dict[str, int] = {}
        self.count = 0
        self._free: list[int] = []

    def put(self, row: int, value: str) -> None:
        if value not in self.values:
            if self._free:
                self.values[value] = self._free.pop()
            else:
                self.values[value] = self.count
                self.count += 1
        self._uses[value] = self._uses.get(value, 0) + 1
        self.numbers[row] = self.values[value]

    def clear(self, row: int, value: str) -> None:
        self.numbers[row] = ABSENT
        self._uses[value] -= 1
        if not self._uses[value]:  # host names come and go; their numbers are given again
            self._free.append(self.values.pop(value))
            del self._uses[value]


class LabelColumns:
    """See the module."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._columns: dict[str, _Column] = {}

    def grow(self, capacity: int) -> None:
        for column in self._columns.values():
            more = np.full(capacity - self._capacity, ABSENT, np.intp)
            column.numbers = np.concatenate([column.numbers, more])
        self._capacity = capacity

    def replace(self, row: int, old: Mapping[str, str], new: Mapping[str, str]) -> None:
        """Give the node in ``row`` the labels ``new`` instead of ``old``; only the difference costs."""
        for key, value in old.items():
            if new.get(key) != value:
                self._columns[key].clear(row, value)
        for key, value in new.items():
            if old.get(key) != value:
                if key not in self._columns:
                    self._columns[key] = _Column(self._capacity)
                self._columns[key].put(row, value)

    def numbers(self, key: str) -> NDArray[np.intp]:
        """For each row, the number of its value of the key, below ``count(key)``; ABSENT without the key."""
        column = self._columns.get(key)
        return np.full(self._capacity, ABSENT, np.intp) if column is None else column.numbers

    def count(self, key: str) -> int:
        """How many numbers the values of a key have, those that are not in use included."""
        column = self._columns.get(key)
        return 0 if column is None else column.count

    def has(self, key: str) -> Mask:
        """Nodes with the key."""
        column = self._columns.get(key)
        return self._none() if column is None else column.numbers != ABSENT

    def equals_any(self, key: str, values: Iterable[str]) -> Mask:
        """Nodes whose value of the key is one of ``values``."""
        column = self._columns.get(key)
        if column is None:
            return self._none()
        numbers = [column.values[value] for value in values if value in column.values]
        mask: Mask = column.numbers == numbers[0] if len(numbers) == 1 else np.isin(column.numbers, numbers)
        return mask

    def compares(self, key: str, operator: str, limit: str) -> Mask:
        """Nodes whose value is an integer beyond ``limit`` (``Gt``) or below it (``Lt``)."""
        column = self._columns.get(key)
        bound = _integer(limit)
        if column is None or bound is None:
            return self._none()
        numbers = [
            number
            for text, number in column.values.items()
            if (value := _integer(text)) is not None and (value > bound if operator == "Gt" else value < bound)
        ]
        return np.isin(column.numbers, numbers)

    def _none(self) -> Mask:
        return np.zeros(self._capacity, np.bool_)


def _integer(text: str) -> int | None:
    """As Go's ``ParseInt`` reads it: ASCII digits only (Python would take ``1_000`` too), within 64 bits."""
    if not INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None
