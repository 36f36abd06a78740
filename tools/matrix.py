"""Writes what each isolation class can do, as the pods' tests saw it, into README.md and docs/how-to/classes.md.

    python -m pytest tests/machines/pods --matrix    # records what the run saw, and calls this
    python -m tools.matrix                           # after the pages were edited

The record is ``tests/machines/pods/matrix.json``: {area: {behaviour: {class: "yes" or "no: why"}}}. The reasons are the
words in which a pod's owner is told.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "tests" / "machines" / "pods" / "matrix.json"
README, PAGE = ROOT / "README.md", ROOT / "docs" / "how-to" / "classes.md"
CLASSES = ("container", "sandbox", "microvm")
BEGIN, END = "<!-- written by tools/matrix.py -->", "<!-- end -->"

Matrix = dict[str, dict[str, dict[str, str]]]
Cell = tuple[str, str, str]
"""Area, behaviour and class."""


def read() -> Matrix:
    found: Matrix = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    return found


def record(seen: Iterable[tuple[Cell, str]], declared: set[Cell]) -> None:
    """Take what a run has ``seen`` into the record, keep what else is ``declared``, and write the pages."""
    cells = {cell: told for cell, told in _cells(read()) if cell in declared} | dict(seen)
    matrix: Matrix = {}
    for area, behaviour, isolation_class in sorted(cells):
        told = cells[area, behaviour, isolation_class]
        matrix.setdefault(area, {}).setdefault(behaviour, {})[isolation_class] = told
    RECORD.write_text(json.dumps(matrix, indent=1) + "\n")
    write(matrix)


def write(matrix: Matrix) -> None:
    for page, lines in ((README, summary(matrix)), (PAGE, everything(matrix))):
        page.write_text(filled(page.read_text(), lines))


def filled(text: str, lines: Iterable[str]) -> str:
    """``text`` with ``lines`` between the two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join([f"{before}{BEGIN}", "", *lines, "", f"{END}{after}"])


def summary(matrix: Matrix) -> Iterator[str]:
    """How much of each area the classes can do, then every behaviour that one of them refuses."""
    yield from _head("behaviours of pods, each a test")
    for area, behaviours in matrix.items():
        yield _row(area, [_count(behaviours, one) for one in CLASSES])
    for behaviours in matrix.values():
        for behaviour, told in behaviours.items():
            if any(one != "yes" for one in told.values()):
                yield _row(f"*{behaviour}*", [told.get(one, "") for one in CLASSES])


def everything(matrix: Matrix) -> Iterator[str]:
    for area, behaviours in matrix.items():
        yield from ("", f"### {area}", "")
        yield from _head("behaviour")
        for behaviour, told in behaviours.items():
            yield _row(behaviour, [told.get(one, "") for one in CLASSES])


def _count(behaviours: dict[str, dict[str, str]], isolation_class: str) -> str:
    told = [one[isolation_class] for one in behaviours.values() if isolation_class in one]
    able = sum(one == "yes" for one in told)
    return f"all {able}" if able == len(told) else f"{able} of {len(told)}"


def _head(first: str) -> list[str]:
    return [_row(first, [f"`{one}`" for one in CLASSES]), "|---" * (len(CLASSES) + 1) + "|"]


def _row(first: str, cells: Iterable[str]) -> str:
    return "| " + " | ".join([first, *cells]) + " |"


def _cells(matrix: Matrix) -> Iterator[tuple[Cell, str]]:
    for area, behaviours in matrix.items():
        for behaviour, told in behaviours.items():
            for isolation_class, one in told.items():
                yield (area, behaviour, isolation_class), one


if __name__ == "__main__":
    write(read())
