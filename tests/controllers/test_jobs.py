"""Jobs run to completion, count every pod once, and end as their limits say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.controllers.cluster import Cluster, running, scenario

from kontinuum.api.kubernetes.resources import EVENTS, JOBS, PODS
from kontinuum.api.machinery.conditions import get_condition, is_true
from kontinuum.api.machinery.objects import Object, annotations_of, name_of
from kontinuum.client.transport.fake import Faults
from kontinuum.controllers.lib import indexes
from kontinuum.controllers.lib.job_pods import index_of, is_active
from kontinuum.foundation import virtual_time


def job(*, restart: str = "Never", **spec: Any) -> Object:
    """As the API server completes it."""
    labels = {"batch.kubernetes.io/controller-uid": "u", "job-name": "work"}
    pod = {"restartPolicy": restart, "containers": [{"name": "main", "image": "work:1"}]}
    spec = {
        "completions": 1, "parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False,
        "podReplacementPolicy": "TerminatingOrFailed", "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod}, **spec,
    }  # fmt: skip
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work", "namespace": "default"}, "spec": spec}


def indexed(completions: int, **spec: Any) -> Object:
    return job(completionMode="Indexed", completions=completions, **{"parallelism": completions, **spec})


def found(cluster: Cluster) -> Object:
    one = cluster.api.storage.get(JOBS, "default/work")
    assert one is not None
    return one


def reason(cluster: Cluster, kind: str) -> str:
    condition = get_condition(found(cluster), kind)
    return condition["reason"] if condition is not None and condition["status"] == "True" else ""


def numbers(cluster: Cluster) -> tuple[int, int, int]:
    status = found(cluster)["status"]
    return status.get("active", 0), status.get("succeeded", 0), status.get("failed", 0)


def finalizers(cluster: Cluster) -> list[str]:
    return [one for pod in cluster.everything(PODS) for one in pod["metadata"].get("finalizers") or ()]


async def change(cluster: Cluster, **spec: Any) -> None:
    await cluster.client.patch(JOBS, "work", {"spec": spec}, namespace="default")


def run(made: Object, exits: Callable[[Object], int | None], check: Callable[[Cluster], None], after: float) -> None:
    async def main(cluster: Cluster) -> None:
        cluster.exits["work:1"] = exits
        await cluster.client.create(JOBS, made)
        await cluster.settle(after)
        check(cluster)

    scenario(main)


def test_a_job_completes_and_lets_its_pods_go() -> None:
    def check(cluster: Cluster) -> None:
        assert numbers(cluster) == (0, 5, 0)
        assert (reason(cluster, "SuccessCriteriaMet"), reason(cluster, "Complete")) == ("CompletionsReached",) * 2
        assert found(cluster)["status"]["completionTime"] > found(cluster)["status"]["startTime"]
        assert len(cluster.everything(PODS)) == 5 and not finalizers(cluster)
        assert {"SuccessfulCreate", "Completed"} <= {one["reason"] for one in cluster.everything(EVENTS)}

    run(job(completions=5, parallelism=2), lambda pod: 0, check, 60)


def test_no_more_run_than_may() -> None:
    async def main(cluster: Cluster) -> None:
        cluster.exits["work:1"] = lambda pod: 0
        await cluster.client.create(JOBS, job(completions=7, parallelism=3))
        for _ in range(100):
            await asyncio.sleep(0.2)
            assert len([pod for pod in cluster.everything(PODS) if is_active(pod)]) <= 3

    scenario(main)


def test_failures_are_tried_again_later_each_time_until_the_limit() -> None:
    async def main(cluster: Cluster) -> None:
        cluster.exits["work:1"] = lambda pod: 1
        await cluster.client.create(JOBS, job(backoffLimit=2))
        await cluster.settle(8)
        assert len(cluster.everything(PODS)) == 1
        await cluster.settle(10)
        assert len(cluster.everything(PODS)) == 2
        await cluster.settle(120)
        assert numbers(cluster) == (0, 0, 3)
        assert (reason(cluster, "FailureTarget"), reason(cluster, "Failed")) == ("BackoffLimitExceeded",) * 2

    scenario(main)


def test_a_job_that_takes_too_long_is_ended() -> None:
    def check(cluster: Cluster) -> None:
        assert reason(cluster, "Failed") == "DeadlineExceeded"
        assert cluster.pods() == [] and not finalizers(cluster)
        assert numbers(cluster)[0] == 0

    run(job(activeDeadlineSeconds=20), lambda pod: None, check, 40)


def test_a_queue_of_work_is_done_when_one_says_so_and_the_others_have_ended() -> None:
    made = job(parallelism=3)
    del made["spec"]["completions"]
    ended: list[str] = []

    def exits(pod: Object) -> int | None:
        ended.append(name_of(pod))
        return 0

    def check(cluster: Cluster) -> None:
        assert numbers(cluster) == (0, 3, 0) and reason(cluster, "Complete")

    run(made, exits, check, 30)
    assert len(ended) == 3


def test_indexes_succeed_once_each() -> None:
    def check(cluster: Cluster) -> None:
        assert found(cluster)["status"]["completedIndexes"] == "0-4"
        assert numbers(cluster) == (0, 5, 2)
        pod = next(one for one in cluster.everything(PODS) if index_of(one) == 3)
        assert pod["spec"]["hostname"] == "work-3" and name_of(pod).startswith("work-3-")
        assert pod["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"

    tries: dict[int | None, int] = {}

    def exits(pod: Object) -> int:
        index = index_of(pod)
        tries[index] = tries.get(index, 0) + 1
        return int(index in (1, 3) and tries[index] == 1)

    run(indexed(5), exits, check, 90)


def test_a_suspended_job_runs_nothing_and_begins_anew() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(JOBS, job(completions=3, parallelism=3))
        await cluster.settle(10)
        assert numbers(cluster) == (3, 0, 0)
        await change(cluster, suspend=True)
        await cluster.settle(10)
        assert cluster.pods() == [] and numbers(cluster) == (0, 0, 0), "what was dismissed counts as nothing"
        assert reason(cluster, "Suspended") == "JobSuspended" and "startTime" not in found(cluster)["status"]
        cluster.exits["work:1"] = lambda pod: 0
        await change(cluster, suspend=False)
        await cluster.settle(30)
        assert numbers(cluster) == (0, 3, 0) and reason(cluster, "Complete")
        assert {"Suspended", "Resumed"} <= {one["reason"] for one in cluster.everything(EVENTS)}

    scenario(main)


def test_each_index_has_its_own_limit() -> None:
    def check(cluster: Cluster) -> None:
        status = found(cluster)["status"]
        assert (status["completedIndexes"], status["failedIndexes"]) == ("0,2", "1")
        assert reason(cluster, "Failed") == "FailedIndexes"
        counts = sorted(
            annotations_of(pod)["batch.kubernetes.io/job-index-failure-count"]
            for pod in cluster.everything(PODS)
            if index_of(pod) == 1
        )
        assert counts == ["0", "1", "2"] and numbers(cluster)[2] == 3

    made = indexed(3, backoffLimitPerIndex=2, backoffLimit=2**31 - 1)
    run(made, lambda pod: int(index_of(pod) == 1), check, 120)


@pytest.mark.parametrize(
    ("action", "expected"),
    [("FailJob", "PodFailurePolicy"), ("Count", "BackoffLimitExceeded"), ("Ignore", "")],
)
def test_a_policy_says_which_failures_count(action: str, expected: str) -> None:
    rules = [{"action": action, "onExitCodes": {"operator": "In", "values": [42]}}]

    def check(cluster: Cluster) -> None:
        assert reason(cluster, "Failed") == expected
        if action == "FailJob":
            message = (get_condition(found(cluster), "Failed") or {})["message"]
            assert message.startswith("Container main for pod default/work-")
            assert message.endswith("failed with exit code 42 matching FailJob rule at index 0")
        if action == "Ignore":
            assert numbers(cluster)[2] == 0 and len(cluster.everything(PODS)) > 2

    made = job(backoffLimit=1, podFailurePolicy={"rules": rules}, podReplacementPolicy="Failed")
    run(made, lambda pod: 42, check, 90)


def test_enough_can_be_less_than_all() -> None:
    def check(cluster: Cluster) -> None:
        assert reason(cluster, "Complete") == "SuccessPolicy"
        assert found(cluster)["status"]["completedIndexes"] == "0"
        assert cluster.pods() == []

    made = indexed(3, successPolicy={"rules": [{"succeededIndexes": "0"}]})
    run(made, lambda pod: 0 if index_of(pod) == 0 else None, check, 60)


def test_restarts_count_where_pods_do_not_fail() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(JOBS, job(restart="OnFailure", backoffLimit=3))
        await cluster.settle(5)
        [pod] = cluster.pods()
        restarted = {"status": {"containerStatuses": [{"name": "main", "restartCount": 3}]}}
        await cluster.client.patch(PODS, name_of(pod), restarted, namespace="default", subresource="status")
        await cluster.settle(20)
        assert reason(cluster, "Failed") == "BackoffLimitExceeded"

    scenario(main)


def test_a_finished_job_goes_after_its_time_and_takes_its_pods_along() -> None:
    async def main(cluster: Cluster) -> None:
        cluster.exits["work:1"] = lambda pod: 0
        await cluster.client.create(JOBS, job(ttlSecondsAfterFinished=30))
        await cluster.settle(20)
        assert reason(cluster, "Complete")
        await cluster.settle(60)
        assert cluster.everything(JOBS) == cluster.everything(PODS) == []

    scenario(main)


def test_a_deleted_job_leaves_no_finalizer_behind() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(JOBS, job(completions=3, parallelism=3))
        await cluster.settle(10)
        await cluster.client.delete(JOBS, "work", namespace="default")
        await cluster.settle(60)
        assert cluster.everything(PODS) == []

    scenario(main)


@given(st.sets(st.integers(0, 40)))
def test_indexes_are_read_as_they_were_written(chosen: set[int]) -> None:
    assert indexes.read(indexes.write(chosen), 41) == chosen


def test_indexes_are_written_as_kubernetes_writes_them() -> None:
    assert indexes.write([0, 2, 3, 5, 6, 7]) == "0,2,3,5-7"


def day(prepare: Callable[[Cluster], None], *, is_indexed: bool) -> tuple[Object, list[int]]:
    """A Job with failures, whatever ``prepare`` does to its controllers; its end, and their writes."""

    async def main() -> tuple[Object, list[int]]:
        async with running() as cluster:
            tries: dict[str, int] = {}

            def exits(pod: Object) -> int:
                # The first two pods of all, or the first of two indexes, fail.
                key = str(index_of(pod)) if is_indexed else ""
                tries[key] = tries.get(key, 0) + 1
                return int(key in ("0", "2") and tries[key] == 1) if is_indexed else int(tries[key] <= 2)

            cluster.exits["work:1"] = exits
            prepare(cluster)
            faults: Faults = cluster.faults
            made = indexed(4) if is_indexed else job(completions=4, parallelism=2)
            await cluster.client.create(JOBS, made)
            await cluster.settle(300)
            status = found(cluster)["status"]
            end = {key: status.get(key) for key in ("active", "succeeded", "failed", "completedIndexes")}
            end |= {"complete": is_true(found(cluster), "Complete"), "finalizers": finalizers(cluster)}
            return end, [n for n, request in enumerate(faults.writes, 1) if "/events" not in request.path]

    return virtual_time.run(main)


@pytest.mark.parametrize("is_indexed", [False, True])
def test_no_pod_is_counted_twice_or_forgotten_wherever_the_controller_is_killed(is_indexed: bool) -> None:
    expected, writes = day(lambda cluster: None, is_indexed=is_indexed)
    assert (expected["succeeded"], expected["failed"], expected["complete"]) == (4, 2, True)
    assert expected["finalizers"] == [] and len(writes) > 20
    for index, point in enumerate(writes):

        def kill_at(cluster: Cluster, point: int = point) -> None:
            def after_write(number: int, request: object) -> None:
                if number == point:
                    cluster.replace_controllers()

            cluster.faults.after_write = after_write

        def lose_at(cluster: Cluster, point: int = point) -> None:
            cluster.faults.lose_answer(point)

        end, _ = day(lose_at if index % 2 else kill_at, is_indexed=is_indexed)
        assert end == expected, f"at write {point}"


@settings(max_examples=15, deadline=None)
@given(
    st.booleans(), st.integers(1, 6), st.integers(1, 4),
    st.lists(st.sampled_from([0, 0, 0, 1]), min_size=12, max_size=12),
)  # fmt: skip
def test_counts_add_up_whatever_fails(is_indexed: bool, completions: int, parallelism: int, codes: list[int]) -> None:
    async def main(cluster: Cluster) -> None:
        ended = {0: 0, 1: 0}

        def exits(pod: Object) -> int:
            code = codes[sum(ended.values()) % len(codes)]
            ended[code] += 1
            return code

        cluster.exits["work:1"] = exits
        made = indexed(completions, parallelism=parallelism) if is_indexed else job(
            completions=completions, parallelism=parallelism
        )  # fmt: skip
        await cluster.client.create(JOBS, made)
        await cluster.settle(1500)
        status = found(cluster)["status"]
        assert is_true(found(cluster), "Complete") != is_true(found(cluster), "Failed")
        assert status.get("failed", 0) == ended[1]
        if is_true(found(cluster), "Complete"):
            assert status["succeeded"] == ended[0] == completions
        assert not finalizers(cluster) and not status.get("uncountedTerminatedPods")

    scenario(main)


@pytest.mark.behaviour("Job should adopt matching orphans and release non-matching pods")
def test_orphans_are_taken_in_and_strangers_let_go() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(JOBS, job(completions=4, parallelism=2))
        await cluster.settle(10)
        orphan, stranger = (name_of(pod) for pod in cluster.pods())
        await cluster.client.patch(PODS, orphan, {"metadata": {"ownerReferences": None}}, namespace="default")
        await cluster.settle(10)
        adopted = await cluster.client.get(PODS, orphan, namespace="default")
        assert adopted["metadata"]["ownerReferences"][0]["kind"] == "Job"
        assert len(cluster.pods()) == 2
        await cluster.client.patch(PODS, stranger, {"metadata": {"labels": {"job-name": "other"}}}, namespace="default")
        await cluster.settle(10)
        released = await cluster.client.get(PODS, stranger, namespace="default")
        assert "ownerReferences" not in released["metadata"] and "finalizers" not in released["metadata"]
        assert len(cluster.pods()) == 3, "another has taken its place"

    scenario(main)
