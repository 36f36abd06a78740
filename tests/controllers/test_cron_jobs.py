"""CronJobs start each of their times once, and keep to their policies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.controllers.cluster import Cluster, running, scenario

from kontinuum.api.kubernetes.resources import CRONJOBS, EVENTS, JOBS, PODS
from kontinuum.api.machinery.conditions import is_true
from kontinuum.api.machinery.objects import Object, annotations_of, name_of
from kontinuum.client.transport.fake import Faults
from kontinuum.controllers.lib import cronjobs
from kontinuum.foundation import virtual_time
from kontinuum.foundation.clock import parse_rfc3339, rfc3339

CREATED = 1_700_000_000
"""When virtual time begins: 20 seconds past a minute."""
FIRST = CREATED // 60 + 1
"""The first whole minute after that."""


def cron_job(schedule: str = "* * * * *", **spec: Any) -> Object:
    """As the API server completes it, but for the selector that it would give each Job."""
    labels = {"job-name": "tick"}
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "work:1"}]}
    job = {
        "completions": 1, "parallelism": 1, "backoffLimit": 0, "completionMode": "NonIndexed", "suspend": False,
        "podReplacementPolicy": "TerminatingOrFailed", "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }  # fmt: skip
    spec = {
        "schedule": schedule, "concurrencyPolicy": "Allow", "suspend": False, "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 1, "jobTemplate": {"metadata": {"labels": {"app": "tick"}}, "spec": job}, **spec,
    }  # fmt: skip
    metadata = {"name": "tick", "namespace": "default"}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": spec}


def found(cluster: Cluster) -> Object:
    one = cluster.api.storage.get(CRONJOBS, "default/tick")
    assert one is not None
    return one


def active(cluster: Cluster) -> list[str]:
    return [one["name"] for one in (found(cluster).get("status") or {}).get("active") or ()]


def jobs(cluster: Cluster) -> list[str]:
    return sorted(name_of(job) for job in cluster.everything(JOBS))


def names(*minutes: int) -> list[str]:
    """The Jobs for these minutes, counted from the first one after the start."""
    return [f"tick-{FIRST + minute}" for minute in minutes]


def events(cluster: Cluster, reason: str) -> list[str]:
    return [one["message"] for one in cluster.everything(EVENTS) if one["reason"] == reason]


async def change(cluster: Cluster, **spec: Any) -> None:
    await cluster.client.patch(CRONJOBS, "tick", {"spec": spec}, namespace="default")


def run(made: Object, exits: int | None, check: Callable[[Cluster], None], after: float) -> None:
    async def main(cluster: Cluster) -> None:
        cluster.exits["work:1"] = lambda pod: exits
        await cluster.client.create(CRONJOBS, made)
        await cluster.settle(after)
        check(cluster)

    scenario(main)


@pytest.mark.behaviour("CronJob should schedule multiple jobs concurrently")
def test_jobs_run_beside_each_other_where_that_is_allowed() -> None:
    def check(cluster: Cluster) -> None:
        assert active(cluster) == jobs(cluster) == names(0, 1, 2)
        assert len(cluster.ready_pods()) == 3
        assert found(cluster)["status"]["lastScheduleTime"] == rfc3339(60 * (FIRST + 2))
        assert set(events(cluster, "SuccessfulCreate")) >= {f"Created job {name}" for name in names(0, 1, 2)}
        assert not events(cluster, "UnexpectedJob")

    run(cron_job(), None, check, 170)


@pytest.mark.behaviour("CronJob should not schedule new jobs when ForbidConcurrent")
def test_no_job_starts_beside_another_where_that_is_forbidden() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(CRONJOBS, cron_job(concurrencyPolicy="Forbid"))
        await cluster.settle(290)
        assert active(cluster) == jobs(cluster) == names(0)
        assert events(cluster, "JobAlreadyActive") == [cronjobs.FORBIDDEN]
        await cluster.client.delete(JOBS, names(0)[0], namespace="default")
        await cluster.settle(5)
        assert active(cluster) == jobs(cluster) == names(4), "the latest time is made up for, no other"
        assert events(cluster, "MissingJob") == [f"Active job went missing: {names(0)[0]}"]

    scenario(main)


@pytest.mark.behaviour("CronJob should replace jobs when ReplaceConcurrent")
def test_a_new_job_takes_the_place_of_one_that_still_runs() -> None:
    def check(cluster: Cluster) -> None:
        assert active(cluster) == jobs(cluster) == names(2)
        assert len(cluster.pods()) == 1
        assert sorted(events(cluster, "SuccessfulDelete")) == [f"Deleted job {name}" for name in names(0, 1)]
        assert not events(cluster, "UnexpectedJob") and not events(cluster, "MissingJob")

    run(cron_job(concurrencyPolicy="Replace"), None, check, 190)


@pytest.mark.behaviour("CronJob should not schedule jobs when suspended")
def test_nothing_starts_while_it_is_suspended() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(CRONJOBS, cron_job(suspend=True, startingDeadlineSeconds=30))
        await cluster.settle(900)
        assert jobs(cluster) == active(cluster) == []
        await change(cluster, suspend=False)
        await cluster.settle(70)
        assert len(jobs(cluster)) == 2
        await change(cluster, suspend=True)
        await cluster.settle(600)
        assert len(jobs(cluster)) == 2

    scenario(main)


def test_a_job_is_made_by_the_template_for_its_time_in_the_zone() -> None:
    def check(cluster: Cluster) -> None:
        [job] = cluster.everything(JOBS)
        assert annotations_of(job) == {"note": "x", cronjobs.TIMESTAMP: "2023-11-15T04:00:00+05:45"}
        assert job["metadata"]["labels"] == {"app": "tick"}
        [reference] = job["metadata"]["ownerReferences"]
        assert (reference["kind"], reference["name"]) == ("CronJob", "tick")
        assert reference["controller"] and reference["blockOwnerDeletion"]

    made = cron_job("0 4 * * *", timeZone="Asia/Kathmandu")
    made["spec"]["jobTemplate"]["metadata"]["annotations"] = {"note": "x"}
    run(made, None, check, 300)


def test_so_many_finished_jobs_are_kept_as_the_limits_say() -> None:
    async def main(cluster: Cluster) -> None:
        cluster.exits["work:1"] = lambda pod: int(cluster.clock.time()) // 60 % 2
        await cluster.client.create(CRONJOBS, cron_job(successfulJobsHistoryLimit=2, failedJobsHistoryLimit=1))
        await cluster.settle(60 * 9)
        kept = cluster.everything(JOBS)
        complete = [name_of(job) for job in kept if is_true(job, "Complete")]
        failed = [name_of(job) for job in kept if is_true(job, "Failed")]
        assert (len(complete), len(failed), len(kept)) == (2, 1, 3)
        assert sorted((*complete, *failed)) == names(6, 7, 8)[-3:]
        assert len(cluster.everything(PODS)) == 3, "the pods of the others went with them"
        last = max(job["status"]["completionTime"] for job in kept if is_true(job, "Complete"))
        assert found(cluster)["status"]["lastSuccessfulTime"] == last and active(cluster) == []
        assert f"Saw completed job: {complete[0]}, condition: Complete" in events(cluster, "SawCompletedJob")
        assert f"Saw completed job: {failed[0]}, condition: Failed" in events(cluster, "SawCompletedJob")

    scenario(main)


def test_what_is_too_late_is_not_started_and_told_once() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(CRONJOBS, cron_job("0 * * * *", startingDeadlineSeconds=100))
        await cluster.kill_controllers()
        await cluster.settle(2 * 3600)
        cluster.start_controllers()
        await cluster.settle(1200)
        assert jobs(cluster) == []
        assert events(cluster, "MissSchedule") == [
            "Missed scheduled time to start a job: Wed, 15 Nov 2023 00:00:00 +0000"
        ]

    scenario(main)


def test_after_a_long_absence_the_latest_time_alone_is_made_up_for_with_a_warning() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(CRONJOBS, cron_job())
        await cluster.kill_controllers()
        await cluster.settle(60 * 110 + 30)
        cluster.start_controllers()
        await cluster.settle(5)
        assert jobs(cluster) == names(109)
        assert events(cluster, "TooManyMissedTimes") == [cronjobs.TOO_MANY]

    scenario(main)


def test_a_new_schedule_means_no_times_before_it() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(CRONJOBS, cron_job("0 12 * * *"))
        await cluster.settle(600)
        await change(cluster, schedule="20 22 * * *")
        await cluster.settle(600)
        assert jobs(cluster) == []

    scenario(main)


def test_a_clock_that_is_set_forward_is_noticed_and_one_set_back_starts_nothing_again() -> None:
    async def main(cluster: Cluster) -> None:
        cluster.exits["work:1"] = lambda pod: 0
        await cluster.client.create(CRONJOBS, cron_job("0 * * * *"))
        await cluster.settle(10)
        cluster.clock.jump(3600)
        await cluster.settle(70)
        [only] = jobs(cluster)
        cluster.clock.jump(-3600)
        await cluster.settle(50 * 60)
        assert jobs(cluster) == [only]

    scenario(main)


def test_jobs_of_others_are_left_alone_and_told_of() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(CRONJOBS, cron_job("0 0 1 1 *", concurrencyPolicy="Replace"))
        template = cron_job()["spec"]["jobTemplate"]
        orphan = {"metadata": {"name": "orphan", "namespace": "default"}, "spec": template["spec"]}
        by_hand = cronjobs.new_job(found(cluster), 0)
        by_hand["metadata"] |= {"name": "by-hand", "annotations": {"cronjob.kubernetes.io/instantiate": "manual"}}
        for job in (orphan, by_hand):
            await cluster.client.create(JOBS, {"apiVersion": "batch/v1", "kind": "Job", **job})
        await cluster.settle(300)
        assert jobs(cluster) == ["by-hand", "orphan"] and active(cluster) == []
        told = ["Saw a job that the controller did not create or forgot: by-hand"]
        assert events(cluster, "UnexpectedJob") == told
        left = next(job for job in cluster.everything(JOBS) if name_of(job) == "orphan")
        assert "ownerReferences" not in left["metadata"]

    scenario(main)


@pytest.mark.parametrize(
    ("spec", "reason", "message"),
    [
        ({"timeZone": "Nowhere"}, "UnknownTimeZone", 'invalid timeZone: "Nowhere": unknown time zone Nowhere'),
        ({"schedule": "x"}, "UnparseableSchedule",
         'unparseable schedule: "x" : expected exactly 5 fields, found 1: [x]'),
        ({"schedule": "0 0 30 2 *"}, "InvalidSchedule", "invalid schedule: 0 0 30 2 * : no time matches it"),
    ],
)  # fmt: skip
def test_a_schedule_without_times_is_told_and_not_tried_for_ever(spec: Object, reason: str, message: str) -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(CRONJOBS, cron_job(**spec))
        await cluster.settle(1500)
        assert jobs(cluster) == [] and events(cluster, reason) == [message]
        [event] = [one for one in cluster.everything(EVENTS) if one["reason"] == reason]
        assert event["count"] == 1
        await change(cluster, schedule="* * * * *", timeZone=None)
        await cluster.settle(70)
        assert jobs(cluster)

    scenario(main)


def test_between_its_times_a_cron_job_writes_nothing() -> None:
    async def main(cluster: Cluster) -> None:
        cluster.exits["work:1"] = lambda pod: 0
        await cluster.client.create(CRONJOBS, cron_job("14 22 * * *"))
        await cluster.settle(120)
        assert len(jobs(cluster)) == 1
        before = len(cluster.faults.writes)
        await cluster.settle(3600)
        assert len(cluster.faults.writes) == before

    scenario(main)


def test_its_jobs_go_with_a_cron_job() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(CRONJOBS, cron_job())
        await cluster.settle(130)
        assert len(jobs(cluster)) == 2
        await cluster.client.delete(CRONJOBS, "tick", namespace="default")
        await cluster.settle(130)
        assert jobs(cluster) == [] and cluster.everything(PODS) == []

    scenario(main)


class Starts:
    """Every Job that was ever made, however short it lived."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.seen: dict[str, str] = {}
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            for job in self._cluster.everything(JOBS):
                self.seen[job["metadata"]["uid"]] = name_of(job)
            await asyncio.sleep(0.5)

    def names(self) -> list[str]:
        self._task.cancel()
        return sorted(self.seen.values())


def four_minutes(prepare: Callable[[Cluster], None], **spec: Any) -> tuple[list[str], Object, list[int]]:
    """Four times pass, whatever ``prepare`` does to the controllers; the Jobs ever made, the end, and the writes."""

    async def main() -> tuple[list[str], Object, list[int]]:
        async with running() as cluster:
            cluster.exits["work:1"] = lambda pod: 0
            prepare(cluster)
            faults: Faults = cluster.faults
            starts = Starts(cluster)
            await cluster.client.create(CRONJOBS, cron_job(**spec))
            await cluster.settle(255)
            end = {key: (found(cluster)["status"]).get(key) for key in ("active", "lastScheduleTime")}
            writes = [n for n, request in enumerate(faults.writes, 1) if "/events" not in request.path]
            return starts.names(), {**end, "kept": jobs(cluster)}, writes

    return virtual_time.run(main)


def test_each_time_starts_exactly_once_wherever_the_controllers_are_killed() -> None:
    made, expected, writes = four_minutes(lambda cluster: None, successfulJobsHistoryLimit=1)
    assert made == names(*range(4)) and expected["kept"] == names(3) and not expected["active"]
    assert parse_rfc3339(expected["lastScheduleTime"]) == 60 * (FIRST + 3)
    for index, point in enumerate(writes):

        def kill_at(cluster: Cluster, point: int = point) -> None:
            def after_write(number: int, request: object) -> None:
                if number == point:
                    cluster.replace_controllers()

            cluster.faults.after_write = after_write

        def lose_at(cluster: Cluster, point: int = point) -> None:
            cluster.faults.lose_answer(point)

        again, end, _ = four_minutes(lose_at if index % 2 else kill_at, successfulJobsHistoryLimit=1)
        assert (again, end) == (made, expected), f"at write {point}"


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 200), st.integers(0, 150)), max_size=3),
    st.sampled_from(["Allow", "Forbid", "Replace"]), st.sampled_from([0, 1, 3]), st.sampled_from([None, 30, 200]),
)  # fmt: skip
def test_no_time_starts_twice_and_none_is_skipped_while_somebody_is_there_in_time(
    absences: list[tuple[int, int]], policy: str, kept: int, deadline: int | None
) -> None:
    """``absences`` are when the controllers are killed, and for how many seconds nobody follows."""
    absences.sort()

    async def main(cluster: Cluster) -> None:
        cluster.exits["work:1"] = lambda pod: 0
        starts, begin = Starts(cluster), cluster.clock.time()
        gone: list[tuple[float, float]] = []
        made = cron_job(concurrencyPolicy=policy, successfulJobsHistoryLimit=kept, startingDeadlineSeconds=deadline)
        await cluster.client.create(CRONJOBS, made)
        for at, length in absences:
            await asyncio.sleep(max(0.0, begin + at - cluster.clock.time()))
            left = cluster.clock.time()
            await cluster.kill_controllers()
            await asyncio.sleep(length)
            cluster.start_controllers()
            gone.append((left, cluster.clock.time()))
            await asyncio.sleep(2)
        await asyncio.sleep(90)
        end = cluster.clock.time()
        started = starts.names()
        assert len(started) == len(set(started)), "a time started twice"
        for minute in range(FIRST, int(end - 10) // 60 + 1):
            due = 60 * minute
            # Until when nobody came who could have started it.
            back = max((till for left, till in gone if left <= due + 1 and due <= till), default=due)
            superseded = 60 * (minute + 1) <= back + 1
            too_late = deadline is not None and back + 1 > due + deadline
            if not superseded and not too_late:
                assert f"tick-{minute}" in started

    scenario(main)
