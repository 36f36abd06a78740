"""Containers that are told what their whole pod has used."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kontinuum.node.port import ContainerUsage
from kontinuum.node.usage.shares import Shares


def usage(pod: str, name: str, cpu: int, memory: int) -> ContainerUsage:
    return ContainerUsage(f"{pod}/{name}", pod, "default", pod, name, 1.0, cpu, memory, rss_bytes=memory)


def test_memory_is_shared_out_and_other_pods_keep_their_own() -> None:
    found = [usage("p", "a", 10, 100), usage("p", "b", 10, 100), usage("other", "a", 7, 50), usage("other", "b", 8, 60)]
    told = Shares().of(found, {"p"})
    assert [(one.memory_bytes, one.rss_bytes, one.page_faults) for one in told[:2]] == [(50, 50, None)] * 2
    assert told[2:] == found[2:]


@given(st.lists(st.tuples(st.sets(st.sampled_from("abc"), min_size=1), st.integers(0, 1000)), min_size=1))
def test_cpu_time_never_shrinks_and_nobody_s_is_counted_twice(rounds: list[tuple[set[str], int]]) -> None:
    shares, whole, before = Shares(), 0, dict[str, int]()
    for names, more in rounds:
        whole += more
        told = shares.of([usage("p", name, whole, 1) for name in sorted(names)], {"p"})
        now = {one.container: one.cpu_nanoseconds for one in told}
        assert all(now[name] >= before[name] for name in now.keys() & before.keys())
        assert sum(now.values()) - sum(before.get(name, 0) for name in now) <= more + (0 if before else whole)
        before = now
