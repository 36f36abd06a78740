"""Writes docs/conformance.md: which of Kubernetes' conformance behaviours are held, and by which test.

    python -m tools.conformance                      # after tests were marked or renamed
    python -m tools.conformance --reference FILE     # also takes up behaviours of a newer conformance.yaml

A test says what it holds with ``@pytest.mark.behaviour("Watchers should ...")``. The names, and what each behaviour
needs, live in the page itself; everything else in it is derived, so that it cannot say more than the tests do.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "conformance.md"
NEEDS = {
    "API": "no running pod",
    "controllers": "controllers, but no running pod",
    "pods": "pods that run on one node",
    "two nodes": "several nodes",
}
INTRODUCTION = """\
# Conformance

The behaviours that a certified Kubernetes 1.36 must show. All of them, each held by a test, is our definition of
"unmodified Kubernetes". This page is written by `python -m tools.conformance` from the marks of the tests; the second
column says what it takes to show a behaviour.
"""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One line of the page."""

    area: str
    name: str
    needs: str


def of_page(text: str) -> list[Behaviour]:
    """The behaviours that a page lists, in its order."""
    found, area = [], ""
    for line in text.splitlines():
        if line.startswith("## "):
            area = line.removeprefix("## ")
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 3 and cells[1] in NEEDS and area:
            found.append(Behaviour(area, cells[0], cells[1]))
    return found


def of_reference(file: Path) -> list[str]:
    """The names in a conformance.yaml, without their tags."""
    return [plain(entry["codename"]) for entry in yaml.safe_load(file.read_text())]


def plain(codename: str) -> str:
    """``[sig-node] Pods should be ... [Conformance]`` without what is in brackets."""
    return " ".join(re.sub(r"\[[^\]]*\]", "", codename).split())


def marks(tests: Path = ROOT / "tests") -> dict[str, list[str]]:
    """Behaviour → the tests that are marked with it, as ``tests/x/test_y.py::test_z``.

    A mark of one case in a table of cases has no function of its own: it counts for its file.
    """
    found: dict[str, list[str]] = {}
    for file in sorted(tests.rglob("test_*.py")):
        if "mark.behaviour" not in (text := file.read_text()):
            continue
        path = str(file.relative_to(ROOT))
        for place, name in _marked(ast.parse(text)):
            found.setdefault(name, []).append(f"{path}::{place}" if place else path)
    return found


def _marked(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The function that is marked ("" for a case of a table) and the behaviour's name."""
    for statement in tree.body:
        place = statement.name if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) else ""
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.behaviour":
                yield from ((place, str(ast.literal_eval(argument))) for argument in node.args)


def page(behaviours: list[Behaviour], held: dict[str, list[str]]) -> str:
    """The whole page."""
    parts = [INTRODUCTION, _summary(behaviours, held)]
    for area in dict.fromkeys(one.area for one in behaviours):
        rows = [_row(one, held) for one in behaviours if one.area == area]
        parts.append("\n".join([f"## {area}", "", "| behaviour | needs | held by |", "|---|---|---|", *rows, ""]))
    return "\n".join(parts)


def _summary(behaviours: list[Behaviour], held: dict[str, list[str]]) -> str:
    rows = ["| needs | behaviours | held |", "|---|---|---|"]
    for needs, explanation in NEEDS.items():
        here = [one for one in behaviours if one.needs == needs]
        rows.append(f"| {explanation} ({needs}) | {len(here)} | {sum(one.name in held for one in here)} |")
    rows.append(f"| all | {len(behaviours)} | {sum(one.name in held for one in behaviours)} |")
    return "\n".join([*rows, ""])


def _row(one: Behaviour, held: dict[str, list[str]]) -> str:
    if one.name in held:
        state = ", ".join(f"`{test.removeprefix('tests/')}`" for test in held[one.name])
    else:
        state = "needs the node issue" if one.needs in ("pods", "two nodes") else "not yet"
    return f"| {one.name} | {one.needs} | {state} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, help="a conformance.yaml whose behaviours are to be listed")
    reference: Path | None = parser.parse_args().reference
    behaviours = of_page(PAGE.read_text())
    if reference is not None:
        known = {one.name for one in behaviours}
        behaviours += [Behaviour("New", name, "pods") for name in of_reference(reference) if name not in known]
    PAGE.write_text(page(behaviours, marks()))


if __name__ == "__main__":
    main()
