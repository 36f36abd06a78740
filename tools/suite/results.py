"""What a run of the suite says, beside what is known of it.

``cannot.txt`` has the tests that cannot pass: the name on a line of its own, and below it, indented, the reason. Every
other must: a failure without a reason is a defect, and so is a reason for a test that passes. A reason that begins with
"Sometimes" is that of a test which races with what it tests.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Result = Literal["passed", "failed", "not run"]
KNOWN = Path(__file__).with_name("cannot.txt")
SOMETIMES = "Sometimes"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The tests' names, sorted by what they tell."""

    passed: tuple[str, ...]
    excused: Mapping[str, str]
    """Failed, for this reason."""
    failed: tuple[str, ...]
    """Without a reason."""
    stale: tuple[str, ...]
    """Passed although there is a reason why they cannot."""
    not_run: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        return not (self.failed or self.stale or self.not_run)

    def __str__(self) -> str:
        counts = {"passed": self.passed, "cannot": self.excused, "failed": self.failed, "not run": self.not_run}
        lines = [", ".join(f"{len(names)} {word}" for word, names in counts.items())]
        lines += [f"  {count} cannot: {reason}" for reason, count in Counter(self.excused.values()).most_common()]
        lines += [f"FAILED {name}" for name in self.failed]
        lines += [f"PASSED, take it out of {KNOWN.name}: {name}" for name in self.stale]
        lines += [f"NOT RUN {name}" for name in self.not_run]
        return "\n".join(lines)


def conformance(focus: str) -> str:
    """The regular expression of the conformance tests whose names ``focus`` matches; all of them if it is empty."""
    return rf"({focus}).*\[Conformance\]"


def known(isolation_class: str = "") -> list[Path]:
    """The files with reasons that hold where all pods are of this class."""
    of_class = KNOWN.with_stem(f"{KNOWN.stem}-{isolation_class}")
    return [KNOWN, of_class] if of_class.exists() else [KNOWN]


def judge(results: Mapping[str, Result], reasons: Mapping[str, str]) -> Verdict:
    def named(result: Result) -> list[str]:
        return sorted(name for name, one in results.items() if one == result)

    passed, failed = named("passed"), named("failed")
    return Verdict(
        passed=tuple(passed),
        excused={name: reasons[name] for name in failed if name in reasons},
        failed=tuple(name for name in failed if name not in reasons),
        stale=tuple(name for name in passed if name in reasons and not reasons[name].startswith(SOMETIMES)),
        not_run=tuple(named("not run")),
    )


def read_reasons(text: str) -> dict[str, str]:
    """Name → reason. Raises ValueError for a name without one, and for a reason without a name."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line[0] != " ":
            if name and not found[name]:
                raise ValueError(f"no reason: {name}")
            name = line.strip()
            found[name] = ""
        elif name:
            found[name] = f"{found[name]} {line.strip()}".strip()
        else:
            raise ValueError(f"a reason for nothing: {line.strip()}")
    if name and not found[name]:
        raise ValueError(f"no reason: {name}")
    return found


def read_reports(directory: Path, focus: str) -> dict[str, Result]:
    """The conformance tests in the reports of both parts and all their workers. What one skips another may run."""
    found: dict[str, Result] = {}
    for report in sorted(directory.glob("*/junit_*.xml")):
        for case in ElementTree.parse(report).iter("testcase"):
            name = " ".join((case.get("name") or "").split())
            if re.search(conformance(focus), name):
                found[name] = worse(found.get(name, "not run"), result_of(case))
    return found


def result_of(case: ElementTree.Element) -> Result:
    if case.find("skipped") is not None:
        return "not run"
    return "passed" if case.find("failure") is None and case.find("error") is None else "failed"


def worse(one: Result, other: Result) -> Result:
    """A test that failed once has failed."""
    order: list[Result] = ["not run", "passed", "failed"]
    return max(one, other, key=order.index)
