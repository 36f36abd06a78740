"""Annotations that limit a pod's traffic, as the kernel is told."""

from __future__ import annotations

from typing import Any

import pytest

from kontinuum.node.bandwidth import EGRESS, INGRESS, Limits, Unreasonable, devices_behind, limits_of, queue


def test_each_direction_has_a_limit_of_its_own() -> None:
    pod = {"metadata": {"annotations": {INGRESS: "10M", EGRESS: "1Gi"}}, "spec": {}}
    assert limits_of(pod) == Limits(ingress=10_000_000, egress=1 << 30)
    assert limits_of({"metadata": {}, "spec": {}}) == Limits()


@pytest.mark.parametrize(
    ("text", "why"), [("fast", "must match"), ("", "must match"), ("999", "small"), ("1001T", "large")]
)
def test_what_is_no_sensible_limit_is_refused(text: str, why: str) -> None:
    pod: Any = {"metadata": {"annotations": {EGRESS: text}}, "spec": {}}
    with pytest.raises(Unreasonable, match=why):
        limits_of(pod)
    # The host's network is nobody's to limit.
    assert limits_of({**pod, "spec": {"hostNetwork": True}}) == Limits()


def test_the_burst_is_a_fiftieth_of_a_second_and_never_less_than_some_packets() -> None:
    assert queue("veth1", 100_000_000)[-4:] == ["burst", "250000", "latency", "50ms"]
    assert "16384" in queue("veth1", 1_000_000)


def test_the_plug_ins_device_is_found_behind_the_pods_wire() -> None:
    led = {"kind": "u32", "options": {"actions": [{"kind": "mirred", "to_dev": "bwp1"}]}}
    assert devices_behind([{"kind": "u32"}, led]) == ["bwp1"]
