"""What one metric asks for: the rules of "Algorithm details" in Kubernetes' documentation, as tables."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.api.machinery.objects import Object
from kontinuum.controllers.lib.scaling_ratio import (
    Sample,
    Situation,
    Tolerance,
    Unknown,
    by_average,
    by_share,
    by_utilization,
    by_value,
)
from kontinuum.foundation.clock import rfc3339

NOW = 10_000.0


def pod(
    number: int, *, phase: str = "Running", ready: bool = True, started: float = 1000, changed: float = 1000,
    request: str | None = "1", leaving: bool = False, **spec: Any,
) -> Object:  # fmt: skip
    resources = {"requests": {"cpu": request}} if request else {}
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": rfc3339(changed)}
    metadata: Object = {"name": f"p{number}"} | ({"deletionTimestamp": rfc3339(NOW)} if leaving else {})
    return {
        "metadata": metadata,
        "spec": {"containers": [{"name": "main", "resources": resources}], **spec},
        "status": {"phase": phase, "startTime": rfc3339(started), "conditions": [condition]},
    }


def situation(pods: list[Object], wanted: int | None = None, **more: Any) -> Situation:
    count = len(pods) if wanted is None else wanted
    return Situation(count, count, pods, NOW, **more)


def samples(*values: int | None) -> dict[str, Sample]:
    return {f"p{number}": Sample(value, NOW) for number, value in enumerate(values) if value is not None}


@pytest.mark.parametrize(
    ("used", "percent", "replicas"),
    [
        ([500, 500, 500], 50, 3),  # As it should be.
        ([1000, 1000, 1000], 50, 6),  # Twice as much: twice as many.
        ([250, 250, 250, 250], 50, 2),  # Half as much: half as many.
        ([550, 550], 50, 2),  # 10 % more is tolerated,
        ([560, 560], 50, 3),  # 12 % more is not.
        ([450, 450, 450, 450], 50, 4),  # 10 % less is tolerated,
        ([400, 400, 400, 400, 400, 400], 50, 5),  # 20 % less is not: 4.8 is rounded up.
        ([900, 300], 30, 4),  # It is the average that counts.
    ],
)
def test_the_number_follows_the_ratio_beyond_the_tolerance(used: list[int], percent: int, replicas: int) -> None:
    found = by_utilization(
        situation([pod(n) for n in range(len(used))]), samples(*used), percent, resource="cpu"
    )  # fmt: skip
    assert found.replicas == replicas
    assert (found.utilization, found.value) == (sum(used) // len(used) // 10, sum(used) // len(used))


@pytest.mark.parametrize(
    ("pods", "used", "percent", "replicas"),
    [
        # Growing, a pod that is not known uses nothing: 2000 of 3000 is 67 %, so 4 rather than 6.
        ([pod(0), pod(1), pod(2)], [1000, 1000, None], 50, 4),
        # Shrinking, it uses all that it requests: 1400 of 3000 is 47 %, which is near enough.
        ([pod(0), pod(1), pod(2)], [200, 200, None], 50, 3),
        # Or what it should use, where that is more.
        ([pod(0), pod(1), pod(2)], [1500, 1500, None], 200, 3),
        # What is not known never turns the direction.
        ([pod(0), pod(1), pod(2), pod(3)], [600, None, None, None], 50, 4),
        # A pod that is pending counts for nothing when shrinking,
        ([pod(0), pod(1, phase="Pending")], [250, None], 50, 1),
        # and with nothing used when growing.
        ([pod(0), pod(1, phase="Pending")], [1000, None], 50, 2),
        # A pod that has just become ready, or never was, is not measured by what its start took.
        ([pod(0), pod(1, started=NOW - 100, changed=NOW - 30)], [500, 9000], 50, 1),
        ([pod(0), pod(1, ready=False, started=NOW - 100, changed=NOW - 90)], [500, 9000], 50, 1),
        ([pod(0), pod(1, ready=False, started=NOW - 900, changed=NOW - 890)], [500, 9000], 50, 1),
        # One that was ready once is measured.
        ([pod(0), pod(1, ready=False, started=NOW - 900, changed=NOW - 500)], [500, 1500], 50, 4),
        # Pods that leave or have failed are neither counted nor measured.
        ([pod(0), pod(1, leaving=True), pod(2, phase="Failed")], [1000, 9000, 9000], 50, 2),
    ],
)
def test_pods_that_are_not_known_or_not_ready_dampen_the_change(
    pods: list[Object], used: list[int | None], percent: int, replicas: int
) -> None:
    wanted = replicas if replicas == 1 else None
    found = by_utilization(situation(pods, wanted), samples(*used), percent, resource="cpu")
    assert found.replicas == replicas


def test_other_resources_are_measured_in_pods_that_are_not_ready_too() -> None:
    young = pod(1, ready=False, started=NOW - 100, changed=NOW - 90)
    found = by_average(situation([pod(0), young]), samples(1000, 3000), 1000, resource="memory")
    assert (found.replicas, found.value) == (4, 2000)


def test_requests_are_the_pods_own_or_its_containers_and_sidecars() -> None:
    sidecar = {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}}
    first = {"name": "i", "resources": {"requests": {"cpu": "9"}}}
    with_sidecar = situation([pod(0, initContainers=[sidecar, first])])
    assert by_utilization(with_sidecar, samples(1000), 50, resource="cpu").utilization == 50
    whole = situation([pod(0, request=None, resources={"requests": {"cpu": "4"}})])
    assert by_utilization(whole, samples(1000), 50, resource="cpu").utilization == 25
    one = situation([pod(0, initContainers=[sidecar])])
    assert by_utilization(one, samples(1000), 50, resource="cpu", container="main").utilization == 100


def test_what_cannot_be_known_is_said_in_kubernetes_words() -> None:
    def problem(pods: list[Object], *used: int | None) -> str:
        with pytest.raises(Unknown) as raised:
            by_utilization(situation(pods), samples(*used), 50, resource="cpu")
        return str(raised.value)

    assert problem([]) == "no pods returned by selector while calculating replica count"
    assert problem([pod(0)], None) == "did not receive metrics for any ready pods"
    assert problem([pod(0, request=None)], 1) == "missing request for cpu in container main of Pod p0"
    assert problem([pod(0, request="0")], 1) == "no metrics returned matched known pods"


@pytest.mark.parametrize(
    ("wanted", "ready", "value", "target", "replicas"),
    [
        (2, 2, 20_000, 10_000, 4),
        (2, 2, 10_500, 10_000, 2),
        (4, 2, 20_000, 10_000, 4),  # Only ready pods count.
        (0, 0, 25_000, 10_000, 3),  # From nothing, the ratio itself is the number.
        (0, 0, 0, 10_000, 0),
    ],
)
def test_a_plain_value_is_compared_as_it_is(wanted: int, ready: int, value: int, target: int, replicas: int) -> None:
    pods = [pod(number, ready=number < ready) for number in range(wanted)]
    assert by_value(situation(pods, wanted), value, target).replicas == replicas


@pytest.mark.parametrize(
    ("present", "value", "target", "replicas", "average"),
    [(3, 30_000, 10_000, 3, 10_000), (3, 45_000, 10_000, 5, 15_000), (4, 9000, 10_000, 1, 2250), (0, 9000, 5000, 2, 0)],
)
def test_a_value_per_replica_is_shared_out(
    present: int, value: int, target: int, replicas: int, average: int
) -> None:  # fmt: skip
    found = by_share(situation([], present), value, target)
    assert (found.replicas, found.value) == (replicas, average)


def test_each_direction_may_have_a_tolerance_of_its_own() -> None:
    tolerant = Tolerance(down=0.5, up=0.0)
    pods = [pod(n) for n in range(4)]
    assert by_average(situation(pods, tolerance=tolerant), samples(600, 600, 600, 600), 1000).replicas == 4
    assert by_average(situation(pods, tolerance=tolerant), samples(1001, 1001, 1001, 1001), 1000).replicas == 5


MEMBER = st.tuples(st.none() | st.integers(0, 5000), st.sampled_from(["Running", "Pending"]))


@given(st.lists(MEMBER, min_size=1, max_size=8), st.integers(1, 2000))
def test_what_is_unknown_never_moves_further_than_what_is_known(
    fleet: list[tuple[int | None, str]], target: int
) -> None:
    """With some pods unknown, the change is never larger than, nor opposite to, what the known ones ask for."""
    pods = [pod(number, phase=phase) for number, (_, phase) in enumerate(fleet)]
    used = samples(*(value for value, _ in fleet))
    known = [value for value, phase in fleet if phase == "Running" and value is not None]
    if not known:
        with pytest.raises(Unknown):
            by_average(situation(pods), used, target)
        return
    found = by_average(situation(pods), used, target).replicas
    ratio = (sum(known) // len(known)) / target
    if ratio > 1.1:
        assert found >= min(len(known), len(pods))
        assert found <= -(-len(pods) * sum(known) // (len(known) * target)) + 1
    if all(value is not None and phase == "Running" for value, phase in fleet) and 0.9 <= ratio <= 1.1:
        assert found == len(pods)
