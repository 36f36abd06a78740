"""What ``make conformance-suite`` makes of reports: no failure is passed over, and no reason outlives its failure."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools.suite.results import KNOWN, Result, judge, known, read_reasons, read_reports

CLASSES = ("container", "sandbox", "microvm")
NAMES = st.sampled_from([f"[sig-apps] Thing {number} [Conformance]" for number in range(5)])
RESULTS = st.sampled_from(["passed", "failed", "not run"])


@given(results=st.dictionaries(NAMES, RESULTS), reasons=st.dictionaries(NAMES, st.just("an old rule")))
def test_every_test_is_told_of_once_and_only_what_was_expected_is_good(
    results: dict[str, Result], reasons: dict[str, str]
) -> None:
    verdict = judge(results, reasons)
    told = [*verdict.passed, *verdict.excused, *verdict.failed, *verdict.not_run]
    assert sorted(told) == sorted(results)
    expected = all(result == ("failed" if name in reasons else "passed") for name, result in results.items())
    assert verdict.is_good == expected
    assert all(name in str(verdict) for name in (*verdict.failed, *verdict.stale, *verdict.not_run))


@pytest.mark.parametrize(("result", "is_excused"), [("passed", False), ("failed", True)])
def test_a_test_that_races_may_pass_and_fail(result: Result, is_excused: bool) -> None:
    verdict = judge({"[sig-node] Race [Conformance]": result}, {"[sig-node] Race [Conformance]": "Sometimes late"})
    assert verdict.is_good and bool(verdict.excused) == is_excused


def test_a_test_counts_as_its_worst_run_and_only_if_it_was_asked_for(tmp_path: Path) -> None:
    skipped, failure = "<skipped></skipped>", '<failure type="Failure">no</failure>'
    report(tmp_path / "together/junit_01.xml", pods="", taints=skipped, jobs=failure)
    report(tmp_path / "together/junit_02.xml", pods=skipped, taints=skipped, jobs="")
    report(tmp_path / "alone/junit_01.xml", pods=skipped, taints="", nothing=skipped)
    found = read_reports(tmp_path, "")
    assert found == {
        mark("pods"): "passed",
        mark("taints"): "passed",
        mark("jobs"): "failed",
        mark("nothing"): "not run",
    }
    assert read_reports(tmp_path, "pods|taints").keys() == {mark("pods"), mark("taints")}


def mark(name: str) -> str:
    return f"{name} works [Conformance]"


def report(path: Path, **cases: str) -> None:
    """A report of one worker: the suite's other tests are in it too, and names have the blanks of their authors."""
    path.parent.mkdir(exist_ok=True)
    told = "".join(
        f'<testcase name="{name}  works [Conformance]" time="1">{inner}</testcase>' for name, inner in cases.items()
    )
    path.write_text(f'<testsuite name="all">{told}<testcase name="other"><failure>no</failure></testcase></testsuite>')


def test_reasons_are_read_with_their_tests() -> None:
    assert read_reasons("# Why.\n\na [b]\n  because of\n  that\nc\n  other\n") == {
        "a [b]": "because of that",
        "c": "other",
    }
    for bad in ("a\nb\n  why", "a\n", "  why\n"):
        with pytest.raises(ValueError, match="reason"):
            read_reasons(bad)


def test_the_known_ones_have_reasons_and_are_conformance_tests() -> None:
    files = [one for isolation_class in ("", *CLASSES) for one in known(isolation_class)]
    assert all(name.endswith("[Conformance]") for one in files for name in read_reasons(one.read_text()))
    assert known("sandbox") != known("container") == [KNOWN]
