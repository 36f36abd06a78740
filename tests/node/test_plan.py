"""What must never be planned, whatever is observed: a generator searches; and the table of plain cases."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.node.world import container, pod

from kontinuum.api.machinery.objects import Object
from kontinuum.node.observed import Container, ContainerState, Observed, Sandbox
from kontinuum.node.plan import (
    CreateSandbox,
    Finish,
    ReleaseVolumes,
    RemoveContainer,
    RemoveSandbox,
    StartContainer,
    StopContainer,
    StopSandbox,
    plan,
)
from kontinuum.node.remembered import Remembered

NOW = 1000.0
UID = "u"


def sandbox(number: int = 0, *, ready: bool = True) -> Sandbox:
    return Sandbox(f"s{number}", UID, "default", "p", number, ready, float(number))


def attempt(name: str, state: ContainerState = ContainerState.RUNNING, number: int = 0, **more: object) -> Container:
    facts: dict[str, object] = {"sandbox_id": "s0", "started_at": NOW - 50, "created_at": float(number), **more}
    if state is ContainerState.EXITED:
        facts.setdefault("finished_at", NOW - 20)
    return Container(id=f"{name}{number}", name=name, attempt=number, state=state, **facts)  # type: ignore[arg-type]


EXITED, RUNNING = ContainerState.EXITED, ContainerState.RUNNING
WITH_INIT = pod(initContainers=[container("i1"), container("i2")], containers=[container("a"), container("b")])


def deleting(obj: Object, grace: int = 30) -> Object:
    extra = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace}
    return {**obj, "metadata": {**obj["metadata"], **extra}}


def actions(obj: Object, observed: Observed, remembered: Remembered | None = None) -> list[object]:
    return list(plan(obj, observed, remembered or Remembered(), NOW).actions)


def test_first_comes_a_sandbox() -> None:
    assert actions(pod(), Observed()) == [CreateSandbox(0)]


def test_then_the_containers() -> None:
    assert actions(pod(), Observed.of([sandbox()], [])) == [StartContainer("app", 0, 0)]


def test_init_containers_go_one_by_one() -> None:
    there = Observed.of([sandbox()], [])
    assert actions(WITH_INIT, there) == [StartContainer("i1", 0, 0)]
    there = Observed.of([sandbox()], [attempt("i1")])
    assert actions(WITH_INIT, there) == []
    there = Observed.of([sandbox()], [attempt("i1", EXITED)])
    assert actions(WITH_INIT, there) == [StartContainer("i2", 0, 0)]
    there = Observed.of([sandbox()], [attempt("i1", EXITED), attempt("i2", EXITED)])
    assert actions(WITH_INIT, there) == [StartContainer("a", 0, 0), StartContainer("b", 0, 0)]


def test_a_first_crash_is_restarted_at_once_and_a_second_waits() -> None:
    there = Observed.of([sandbox()], [attempt("app", EXITED, exit_code=1, finished_at=NOW - 1)])
    assert actions(pod(), there) == [StartContainer("app", 1, 1)]
    again = attempt("app", EXITED, 1, exit_code=1, finished_at=NOW - 1)
    decision = plan(pod(), Observed.of([sandbox()], [again]), Remembered(), NOW)
    assert decision.actions == ()
    assert decision.wake_at == NOW + 9


def test_a_dead_sandbox_is_stopped_with_what_runs_in_it_before_the_next() -> None:
    there = Observed.of([sandbox(ready=False)], [attempt("app")])
    assert actions(pod(), there) == [StopContainer("app0", "app", 0, "its sandbox died")]
    there = Observed.of([sandbox(ready=False)], [attempt("app", EXITED, exit_code=137)])
    assert actions(pod(), there) == [CreateSandbox(1)]


def test_deletion_stops_containers_then_sandboxes_then_removes_then_finishes() -> None:
    there = Observed.of([sandbox()], [attempt("app")])
    assert actions(deleting(pod(), 7), there) == [StopContainer("app0", "app", 7, "the pod is deleted")]
    there = Observed.of([sandbox()], [attempt("app", EXITED)])
    assert actions(deleting(pod()), there) == [StopSandbox("s0")]
    there = Observed.of([sandbox(ready=False)], [attempt("app", EXITED)])
    assert actions(deleting(pod()), there) == [RemoveSandbox("s0")]
    assert actions(deleting(pod()), Observed()) == [Finish()]


def test_a_pod_that_ended_gets_no_new_sandbox() -> None:
    there = Observed.of([sandbox(ready=False)], [attempt("app", EXITED)])
    assert actions(pod(restartPolicy="Never"), there) == [ReleaseVolumes()]
    assert actions(pod(restartPolicy="OnFailure"), there) == [ReleaseVolumes()]


def test_an_init_container_that_failed_for_good_ends_the_pod() -> None:
    there = Observed.of([sandbox()], [attempt("i1", EXITED, exit_code=1)])
    assert actions({**WITH_INIT, "spec": {**WITH_INIT["spec"], "restartPolicy": "Never"}}, there) == [StopSandbox("s0")]


def test_after_a_reboot_the_restart_count_goes_on() -> None:
    state = {"running": {"startedAt": "1970-01-01T00:00:00Z"}}
    one = {"name": "app", "containerID": "x", "restartCount": 4, "state": state}
    known = {**pod(), "status": {"containerStatuses": [one]}}
    assert actions(known, Observed()) == [CreateSandbox(0)]
    assert [action.attempt for action in actions(known, Observed.of([sandbox()], []))] == [5]  # type: ignore[attr-defined]


def test_after_a_reboot_a_job_that_must_not_run_twice_does_not() -> None:
    state = {"running": {"startedAt": "1970-01-01T00:00:00Z"}}
    one = {"name": "app", "containerID": "x", "restartCount": 0, "state": state}
    ended = {**pod(restartPolicy="Never"), "status": {"containerStatuses": [one]}}
    assert actions(ended, Observed()) == [ReleaseVolumes()]


SANDBOXES = st.lists(st.booleans(), max_size=3).map(
    lambda states: [sandbox(number, ready=ready) for number, ready in enumerate(states)]
)
CONTAINERS = st.lists(
    st.builds(
        attempt,
        st.sampled_from(["i1", "i2", "a", "b"]),
        st.sampled_from(list(ContainerState)),
        st.integers(0, 3),
        sandbox_id=st.sampled_from(["s0", "s1", "s2"]),
        exit_code=st.sampled_from([0, 1, 137]),
        finished_at=st.floats(NOW - 900, NOW),
    ),
    max_size=8,
    unique_by=lambda one: one.id,
)
POLICIES = st.sampled_from(["Always", "OnFailure", "Never"])


@given(SANDBOXES, CONTAINERS, POLICIES, st.booleans())
def test_whatever_is_observed_nothing_forbidden_is_planned(
    sandboxes: list[Sandbox], containers: list[Container], policy: str, is_deleting: bool
) -> None:
    wanted = {**WITH_INIT, "spec": {**WITH_INIT["spec"], "restartPolicy": policy}}
    wanted = deleting(wanted) if is_deleting else wanted
    observed = Observed.of(sandboxes, containers)
    planned = actions(wanted, observed)

    creates = [one for one in planned if isinstance(one, CreateSandbox)]
    starts = [one for one in planned if isinstance(one, StartContainer)]
    assert not creates or (len(planned) == 1 and not any(one.is_ready for one in sandboxes)), "two live sandboxes"
    assert all(one.attempt > max((box.attempt for box in sandboxes), default=-1) for one in creates), "a name twice"
    assert not (is_deleting and (creates or starts)), "something starts although the pod is deleted"
    assert not starts or (observed.sandbox is not None and observed.sandbox.is_ready), "a start without a sandbox"
    for one in starts:
        current = observed.current(one.name)
        assert current is None or current.has_exited, "a container that lives is started"
        assert not any(old.name == one.name and old.attempt >= one.attempt for old in containers), "an attempt twice"
        has_begun = any(observed.current(name) for name in ("a", "b"))
        if one.name in ("a", "b") and not has_begun:
            inits = [observed.current(name) for name in ("i1", "i2")]
            assert all(init and init.has_exited and init.exit_code == 0 for init in inits), (
                "started before init is done"
            )
    if Finish() in planned:
        assert planned == [Finish()]
        assert observed.is_empty, "finished with something left"


@given(SANDBOXES, CONTAINERS)
def test_deletion_always_comes_to_an_end(sandboxes: list[Sandbox], containers: list[Container]) -> None:
    left_sandboxes, left = {one.id: one for one in sandboxes}, {one.id: one for one in containers}
    for _ in range(10):
        observed = Observed.of(left_sandboxes.values(), left.values())
        planned = actions(deleting(WITH_INIT), observed)
        if planned == [Finish()]:
            return
        for action in planned:
            carry_out(action, left_sandboxes, left)
    raise AssertionError("deletion goes round in circles")


def carry_out(action: object, sandboxes: dict[str, Sandbox], containers: dict[str, Container]) -> None:
    """What the runtime would be like afterwards, for the actions of a deletion."""
    match action:
        case StopContainer():
            containers[action.container_id] = replace(containers[action.container_id], state=EXITED)
        case StopSandbox():
            sandboxes[action.sandbox_id] = replace(sandboxes[action.sandbox_id], is_ready=False)
        case RemoveSandbox():
            del sandboxes[action.sandbox_id]
            for key in [key for key, one in containers.items() if one.sandbox_id == action.sandbox_id]:
                del containers[key]
        case RemoveContainer():
            del containers[action.container_id]
        case _:
            raise AssertionError(f"not an action of a deletion: {action}")
