"""The rules of deletion as pure decisions: what must never happen, searched for."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kontinuum.apiserver.lifecycle import FOREGROUND, ORPHAN, is_over, no_grace, plan_deletion, pod_grace
from kontinuum.apiserver.options import PROPAGATIONS, DeleteOptions
from kontinuum.foundation.clock import parse_rfc3339

NOW = 1_700_000_000.0

finalizers = st.lists(st.sampled_from(["example.com/a", "example.com/b", ORPHAN, FOREGROUND]), unique=True)
options = st.builds(
    DeleteOptions,
    grace_seconds=st.none() | st.integers(0, 60),
    propagation=st.sampled_from(["", *PROPAGATIONS]),
)


@st.composite
def pods(draw: st.DrawFn) -> dict[str, Any]:
    spec: dict[str, Any] = {"terminationGracePeriodSeconds": draw(st.integers(0, 40))}
    if draw(st.booleans()):
        spec["nodeName"] = "n1"
    metadata: dict[str, Any] = {"name": "p"}
    if held := draw(finalizers):
        metadata["finalizers"] = held
    status = {"phase": draw(st.sampled_from(["Pending", "Running", "Succeeded"]))}
    return {"kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


@given(pod=pods(), asked=st.lists(options, min_size=1, max_size=5))
def test_no_sequence_of_deletes_lengthens_grace_or_passes_a_finalizer(
    pod: dict[str, Any], asked: list[DeleteOptions]
) -> None:
    grace, deadline = None, None
    for second, one in enumerate(asked):
        before = copy.deepcopy(pod)
        plan = plan_deletion(pod, one, now=NOW + second, grace_of=pod_grace)
        kept = [name for name in before["metadata"].get("finalizers", []) if name not in (ORPHAN, FOREGROUND)]
        if plan.is_gone:
            assert not kept and one.propagation not in ("Orphan", "Foreground")
            return
        pod = plan.obj
        metadata = pod["metadata"]
        assert [name for name in metadata.get("finalizers", []) if name not in (ORPHAN, FOREGROUND)] == kept
        assert grace is None or metadata["deletionGracePeriodSeconds"] <= grace
        ends = parse_rfc3339(metadata["deletionTimestamp"])
        assert deadline is None or ends <= max(deadline, NOW + second)
        grace, deadline = metadata["deletionGracePeriodSeconds"], ends


@given(pod=pods(), asked=options)
def test_a_plan_and_the_end_of_waiting_agree(pod: dict[str, Any], asked: DeleteOptions) -> None:
    plan = plan_deletion(pod, asked, now=NOW, grace_of=no_grace)
    if not plan.is_gone:
        assert not is_over(plan.obj) and plan.obj["metadata"]["finalizers"]
        del plan.obj["metadata"]["finalizers"]
        assert is_over(plan.obj)


@given(pod=pods())
def test_background_replaces_an_earlier_order_about_dependents(pod: dict[str, Any]) -> None:
    for propagation, order in (("Orphan", ORPHAN), ("Foreground", FOREGROUND)):
        pod = plan_deletion(pod, DeleteOptions(propagation=propagation), now=NOW, grace_of=no_grace).obj
        assert [name for name in pod["metadata"]["finalizers"] if name in (ORPHAN, FOREGROUND)] == [order]
    plan = plan_deletion(pod, DeleteOptions(propagation="Background"), now=NOW, grace_of=no_grace)
    assert plan.is_gone or FOREGROUND not in plan.obj["metadata"]["finalizers"]
