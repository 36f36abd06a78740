"""Rates are never negative, never of two lives, and only of what was told."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.apiserver.usage.kinds import duration
from kontinuum.apiserver.usage.samples import BadSummary, Reading, Samples, Telling, read_summary, usage_between

readings = st.builds(
    Reading,
    time=st.integers(0, 1000),
    cpu=st.integers(0, 2**50),
    memory=st.integers(0, 2**40),
    started=st.sampled_from(["", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"]),
)


@given(readings, readings)
def test_a_rate_is_of_one_life_and_says_what_was_spent(before: Reading, after: Reading) -> None:
    found = usage_between(before, after)
    if before.started != after.started or after.time <= before.time or after.cpu < before.cpu:
        assert found is None
        return
    assert found is not None and found.cpu >= 0 and found.window > 0
    assert abs(found.cpu * found.window - (after.cpu - before.cpu)) <= found.window
    assert (found.memory, found.time) == (after.memory, after.time)


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 20), st.sets(st.sampled_from(["x", "y"])))))
def test_nothing_is_known_of_what_the_newest_telling_leaves_out(told: list[tuple[str, int, set[str]]]) -> None:
    samples, newest = Samples(), dict[str, tuple[int, set[str]]]()
    for node, time, pods in told:
        reading = Reading(float(time), time, 1)
        samples.add(node, Telling(reading, {f"{node}-{pod}": {"main": reading} for pod in pods}))
        if node not in newest or time > newest[node][0]:
            newest[node] = (time, pods)
    samples.keep(["a"])
    assert samples.of_node("b", now=20) is None
    for node in ("a", "b"):
        for pod in ("x", "y"):
            if samples.of_pod(f"{node}-{pod}", now=20) is not None:
                assert node == "a" and pod in newest["a"][1]


def test_half_a_pod_is_no_answer() -> None:
    samples = Samples()
    first, second = Reading(1.0, 0, 1), Reading(2.0, 500, 1)
    samples.add("n", Telling(first, {"p": {"old": first}}))
    samples.add("n", Telling(second, {"p": {"old": second, "new": second}}))
    assert samples.of_pod("p", now=2) is None
    third = Reading(3.0, 1500, 1)
    samples.add("n", Telling(third, {"p": {"old": third, "new": third}}))
    found = samples.of_pod("p", now=3)
    assert found is not None and found["old"].cpu == 1000


def test_what_was_told_long_ago_is_no_longer_so() -> None:
    samples = Samples()
    for moment in (1.0, 2.0):
        reading = Reading(moment, 0, 1)
        samples.add("n", Telling(reading, {"p": {"main": reading}}))
    assert samples.of_node("n", now=60) is not None and samples.of_pod("p", now=60) is not None
    assert samples.of_node("n", now=100) is None and samples.of_pod("p", now=100) is None


def test_a_kubelets_summary_is_understood() -> None:
    """With all that we do not read, and a container that has no numbers yet."""
    usage = {"time": "2026-01-01T00:00:10Z", "usageNanoCores": 7, "usageCoreNanoSeconds": 100}
    memory = {"time": "2026-01-01T00:00:10Z", "usageBytes": 9, "workingSetBytes": 5, "rssBytes": 1}
    content = {
        "node": {"nodeName": "n", "systemContainers": [], "cpu": usage, "memory": memory, "fs": {"usedBytes": 1}},
        "pods": [
            {
                "podRef": {"name": "p", "namespace": "d", "uid": "u"}, "startTime": None, "network": {},
                "containers": [
                    {"name": "main", "startTime": "2026-01-01T00:00:00Z", "cpu": usage, "memory": memory},
                    {"name": "new", "startTime": None},
                ],
            },
            {"podRef": {"name": "q", "namespace": "d", "uid": "v"}, "containers": None},
        ],
    }  # fmt: skip
    told = read_summary(orjson.dumps(content))
    assert told.node[1:3] == (100, 5)
    assert told.containers == {"u": {"main": (*told.node[:3], "2026-01-01T00:00:00Z")}, "v": {}}


@given(st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["node", "pods", "podRef", "uid", "containers", "cpu", "memory", "time"]), inner, max_size=4
    ),
))  # fmt: skip
def test_any_other_answer_is_refused(value: object) -> None:
    with pytest.raises(BadSummary):
        read_summary(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS) if not _is_huge(value) else b"{")


def _is_huge(value: object) -> bool:
    if isinstance(value, int):
        return abs(value) >= 2**63
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_is_huge, inner))


@pytest.mark.parametrize(
    ("seconds", "text"), [(15, "15s"), (15.0204, "15.02s"), (0.5, "0.5s"), (60.5, "1m0.5s"), (120, "2m0s")]
)
def test_windows_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
