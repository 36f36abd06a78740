"""Which kubectl programs there are, and which of them runs which test.

fetched     by ``make setup``: Debian 12's, which is older than any other (ancient), and the newest
installed   the one on the PATH, or the versions beside it (kubectl.1.27, kubectl.1.28, ...)

a test asks for    the newest   the ancient   the oldest other   those between
everything         quick        never         machine            long
the basics         quick        quick         machine            long
little             quick        quick         machine            machine
"""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
from tools.kubectl import minor_of

FETCHED = Path(__file__).parents[1] / "build" / "kubectl"
ANCIENT = 25
"""kubectl below this knows kinds and versions that are gone, and not half of the commands of today."""

ENVIRONMENT = {"GOGC": "off"}
"""For every kubectl, and Helm's command: in the little time that they live, collecting garbage is a fourth of what they
cost."""

Asks = Literal["everything", "basics", "little"]


@cache
def kubectl_programs() -> dict[int, Path]:
    """Every kubectl by its minor version, the oldest first."""
    found = [*_installed(), *FETCHED.glob("kubectl.1.*")]
    assert found, "there is no kubectl: make setup"
    return dict(sorted((_minor(one), one) for one in found))


def newest_kubectl() -> Path:
    return list(kubectl_programs().values())[-1]


def kubectl_parameters(asks: Asks = "everything") -> list[Any]:
    """For pytest, the oldest first: see the module."""
    programs = kubectl_programs()
    newest = max(programs)
    others = [minor for minor in programs if ANCIENT <= minor < newest]
    marks = dict.fromkeys(others, pytest.mark.machine if asks == "little" else pytest.mark.long)
    marks |= dict.fromkeys(others[:1], pytest.mark.machine)
    ancient = [minor for minor in programs if minor < ANCIENT and asks != "everything" and minor != newest]
    return [
        pytest.param(programs[minor], marks=marks.get(minor, ()), id=f"kubectl.1.{minor}")
        for minor in [*ancient, *others, newest]
    ]


def _installed() -> list[Path]:
    if (found := shutil.which("kubectl")) is None:
        return []
    program = Path(found).resolve()
    return sorted(program.parent.glob("kubectl.1.*")) or [program]


def _minor(program: Path) -> int:
    name = program.name.removeprefix("kubectl.1.")
    return int(name) if name.isdecimal() else minor_of(program)
