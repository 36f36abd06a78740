"""Sets of a Job's indexes as text: ``0,2-4,7``, rising, below the number of completions."""

from __future__ import annotations

from collections.abc import Iterator

from kontinuum.foundation.errors import Refused


class BadIndexes(Refused, ValueError):
    """The text is no set of indexes. The message is Kubernetes'."""


def count_of(text: str, completions: int) -> int:
    """How many indexes ``text`` names. Raises BadIndexes."""
    return sum(last - first + 1 for first, last in intervals(text, completions))


def intervals(text: str, completions: int) -> Iterator[tuple[int, int]]:
    """Its intervals, first and last inclusive. Raises BadIndexes."""
    previous: int | None = None
    for fragment in text.split(",") if text else ():
        first, last = _interval(fragment, completions)
        if previous is not None and previous >= first:
            raise BadIndexes(f"non-increasing order, previous: {previous}, current: {first}")
        previous = last
        yield first, last


def overlap(completed: str, failed: str, completions: int) -> int | None:
    """An index that both texts name, the lowest one; None if there is none. Raises BadIndexes."""
    spans = list(intervals(failed, completions))
    for first, last in intervals(completed, completions):
        for low, high in spans:
            if first <= high and low <= last:
                return max(first, low)
    return None


def _interval(fragment: str, completions: int) -> tuple[int, int]:
    limits = fragment.split("-")
    if len(limits) > 2:
        raise BadIndexes(
            f'the fragment "{fragment}" violates the requirement that an index interval can have at most two parts '
            "separated by '-'"
        )
    numbers = []
    for limit in limits:
        if not limit.isascii() or not limit.isdigit():
            raise BadIndexes(f'cannot convert string to integer for index: "{limit}"')
        numbers.append(int(limit))
        if numbers[-1] >= completions:
            raise BadIndexes(f'too large index: "{limit}"')
    if len(numbers) == 2 and numbers[0] >= numbers[1]:
        raise BadIndexes(f"non-increasing order, previous: {numbers[0]}, current: {numbers[1]}")
    return numbers[0], numbers[-1]
