"""Sets of a Job's completion indexes, written as ``0,2-4,7``."""

from __future__ import annotations

from collections.abc import Iterable

from kontinuum.api.kubernetes.validation.indexes import BadIndexes, intervals


def read(text: str | None, completions: int) -> set[int]:
    """The indexes that ``text`` names; what cannot be read, or is beyond ``completions``, is left out."""
    try:
        return {index for first, last in intervals(text or "", completions) for index in range(first, last + 1)}
    except BadIndexes:
        # Completions may have been scaled down: the part that still means something counts.
        return _leniently(text or "", completions)


def _leniently(text: str, completions: int) -> set[int]:
    found: set[int] = set()
    for fragment in text.split(","):
        first, _, last = fragment.partition("-")
        if first.isdigit() and (not last or last.isdigit()):
            found.update(range(int(first), min(int(last or first), completions - 1) + 1))
    return {index for index in found if index < completions}


def write(indexes: Iterable[int]) -> str:
    """The text for a set: runs of three and more are intervals."""
    runs: list[list[int]] = []
    for index in sorted(set(indexes)):
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ",".join(_run(run) for run in runs)


def _run(run: list[int]) -> str:
    if len(run) > 2:
        return f"{run[0]}-{run[-1]}"
    return ",".join(map(str, run))
