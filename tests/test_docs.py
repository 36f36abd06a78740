"""The documentation keeps up with the code: every setting, every command and option, every exit code, every link."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.reference import REFERENCE, needs_reference
from tools import conformance

from kontinuum.cli.commands.settings import markdown
from kontinuum.cli.exits import Exit
from kontinuum.cli.main import app
from kontinuum.cli.settings import Settings
from kontinuum.foundation.settings_docs import Setting, describe

ROOT = Path(__file__).parents[1]
COMMANDS = ROOT / "docs" / "how-to" / "commands.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@cache
def commands() -> dict[str, Any]:
    found: dict[str, Any] = typer.main.get_group(app).commands
    return found


@pytest.mark.parametrize("setting", list(describe(Settings)), ids=lambda setting: setting.path)
def test_every_setting_is_explained_beneath_its_field(setting: Setting) -> None:
    assert len(setting.documentation.split()) >= 2, f"{setting.path} needs a docstring beneath its field"


def test_the_page_of_settings_is_what_the_code_says() -> None:
    page = (ROOT / "docs" / "how-to" / "settings.md").read_text()
    assert page == markdown(), "run: kontinuum settings --markdown > docs/how-to/settings.md"


@pytest.mark.parametrize("name", list(commands()))
def test_every_command_and_option_is_documented(name: str) -> None:
    command = commands()[name]
    assert command.help, f"{name} has no help"
    sections = dict(re.findall(r"^## `kontinuum (\S+?)`?\b[^\n]*\n(.*?)(?=^## |\Z)", COMMANDS.read_text(), re.M | re.S))
    assert name in sections, f"docs/how-to/commands.md has no section for kontinuum {name}"
    below: dict[str, Any] = getattr(command, "commands", {})
    assert not [one for one in below if f"### `kontinuum {name} {one}" not in sections[name]]
    together = [command, *below.values()]
    options = {one for part in together for parameter in part.params for one in parameter.opts if one.startswith("--")}
    missing = {option for option in options - {"--help"} if option not in sections[name]}
    assert not missing, f"kontinuum {name}: undocumented {missing}"


def test_every_exit_code_is_documented() -> None:
    table = dict(re.findall(r"^\| (\d) \| `(\w+)`", COMMANDS.read_text(), re.MULTILINE))
    assert table == {str(int(code)): code.name for code in Exit}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    missing = [one for one in targets if one and "://" not in one and not (page.parent / one).exists()]
    assert not missing, f"{page.name} points to what is not there"


SHOWN = re.compile(r"(?:^|`|\$ |# )(kontinuum [a-z][^`#|\n]*|make [a-z-]+(?=`|\s|$)|python -m [a-z._]+)", re.MULTILINE)
"""What a page shows as something to be typed."""


def what_is_wrong_with(line: str) -> str:
    """Why nobody can type the line: empty if everybody can."""
    program, *words = line.split()
    if program == "make":
        targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return "" if targets and words[0] in targets[1].split() else "no such target"
    if program == "python":
        return "" if importlib.util.find_spec(words[1]) else "no such module"
    command = commands().get(words[0])
    if command is None:
        return "no such command"
    parts, below = [command], getattr(command, "commands", {})
    if below and len(words) > 1 and words[1].isalpha() and words[1].islower():
        if words[1] not in below:
            return f"{words[0]} has no {words[1]}"
        parts.append(below[words[1]])
    known = {one for part in parts for parameter in part.params for one in parameter.opts}
    asked = {re.match(r"-{1,2}[a-z-]*", word)[0] for word in words if word.startswith("-")}  # type: ignore[index]
    return f"no such options: {asked - known}" if asked - known - {"--help"} else ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_shows_can_be_typed(page: Path) -> None:
    shown = [line.strip() for line in SHOWN.findall(page.read_text())]
    assert {line: wrong for line in shown if (wrong := what_is_wrong_with(line))} == {}


@pytest.mark.parametrize(
    "line", ["kontinuum fly", "kontinuum up --fast", "kontinuum host fly NAME", "make tea", "python -m benchmarks.tea"]
)
def test_what_nobody_can_type_is_noticed(line: str) -> None:
    assert SHOWN.findall(f"type `{line}` and") == [line]
    assert what_is_wrong_with(line)


def test_the_page_of_conformance_is_what_the_tests_hold() -> None:
    listed = conformance.of_page(conformance.PAGE.read_text())
    held = conformance.marks()
    assert held.keys() <= {one.name for one in listed}, "a test is marked with a behaviour that does not exist"
    assert conformance.PAGE.read_text() == conformance.page(listed, held), "run: python -m tools.conformance"


@needs_reference
def test_the_page_of_conformance_lists_every_behaviour() -> None:
    listed = {one.name for one in conformance.of_page(conformance.PAGE.read_text())}
    assert listed == set(conformance.of_reference(REFERENCE / "conformance.yaml"))
