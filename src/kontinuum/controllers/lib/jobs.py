"""Jobs, decided: how many pods should run now, and how the Job ends (kubernetes ``job_controller.go``).

running ──┬─ enough has succeeded ──▶ SuccessCriteriaMet ── pods gone, all counted ──▶ Complete
          ├─ a limit is exceeded ───▶ FailureTarget ─────── pods gone, all counted ──▶ Failed
          └─ suspend ──▶ Suspended ── resume ──▶ running (its time begins anew)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from kontinuum.api.machinery.conditions import get_condition, is_true, set_condition
from kontinuum.api.machinery.objects import Object
from kontinuum.controllers.lib import indexes, job_pods
from kontinuum.controllers.lib.job_counts import Counts, count, generation_of
from kontinuum.controllers.lib.job_pods import completions_of, index_of, is_active, is_indexed
from kontinuum.controllers.lib.job_policies import judge_failure, matched_success_rule
from kontinuum.controllers.lib.names import FreshNames
from kontinuum.controllers.lib.pods import deletion_order, is_leaving, is_ready, phase_of
from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import parse_rfc3339, rfc3339

AGAIN = Backoff(initial=10.0, maximum=600.0)
"""Time between the failure of a pod and its successor's creation."""
BURST = 500


@dataclass(frozen=True, slots=True)
class End:
    """How a Job ends: ``kind`` is Complete or Failed."""

    kind: str
    reason: str
    message: str

    @property
    def announced_by(self) -> str:
        return "SuccessCriteriaMet" if self.kind == "Complete" else "FailureTarget"


@dataclass(slots=True)
class Plan:
    """What to do, in this order: create and delete, write ``status``, then let go of counted pods."""

    status: Object
    create: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    """Their failing counts: the Job ends."""
    dismiss: list[Object] = field(default_factory=list)
    """Not wanted now; they are let go before they are deleted, so that they count as nothing."""
    let_go: list[Object] = field(default_factory=list)
    events: list[tuple[str, str, str]] = field(default_factory=list)
    look_after: float | None = None


def is_finished(job: Object) -> bool:
    return is_true(job, "Complete") or is_true(job, "Failed")


def is_suspended(job: Object) -> bool:
    return bool(job["spec"].get("suspend"))


def plan(job: Object, pods: Sequence[Object], names: FreshNames, now: float) -> Plan:
    """``pods`` are the Job's own, ended ones too. The Job has not finished."""
    status = dict(job.get("status") or {})
    result = Plan(status)
    end = _announced(job)
    if not status.get("startTime") and not is_suspended(job):
        status["startTime"] = rfc3339(now)
    counts = count(job, pods, is_ending=end is not None)
    end = end or _end(job, {**job, "status": status}, pods, counts, now, result)
    active = [pod for pod in pods if is_active(pod)]
    if end is not None:
        result.delete = active
        counts = count(job, pods, is_ending=True)
    elif is_suspended(job):
        result.dismiss = active
    else:
        _manage(job, pods, active, counts, names, now, result)
    result.let_go = counts.let_go
    _tell_suspension(job, status, now, result)
    _fill_status(job, status, pods, active, counts, result)
    if end is None and _is_done(job, pods, counts):
        reached = "Reached expected number of succeeded pods"
        end = End("Complete", "CompletionsReached", reached)
    if end is not None:
        _finish(status, end, now, result)
    return result


def _announced(job: Object) -> End | None:
    for kind in ("SuccessCriteriaMet", "FailureTarget"):
        condition = get_condition(job, kind)
        if condition is not None and condition["status"] == "True":
            final = "Complete" if kind == "SuccessCriteriaMet" else "Failed"
            return End(final, condition.get("reason", ""), condition.get("message", ""))
    return None


def _end(job: Object, started: Object, pods: Sequence[Object], counts: Counts, now: float, result: Plan) -> End | None:
    """The first limit that is exceeded, or the success policy that is met. ``started`` has its start time."""
    spec = job["spec"]
    if counts.fail_job:
        return End("Failed", "PodFailurePolicy", counts.fail_job)
    limit = spec.get("backoffLimit")
    if limit is not None and (counts.all_failed > limit or _restarted_too_often(job, pods, limit)):
        return End("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    left = _seconds_left(started, now)
    if left is not None and left <= 0:
        return End("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    if left is not None:
        result.look_after = left
    if is_indexed(job):
        return _end_of_indexes(job, counts)
    return None


def _restarted_too_often(job: Object, pods: Sequence[Object], limit: int) -> bool:
    """With OnFailure pods do not fail: their containers' restarts are what counts."""
    if (job["spec"]["template"].get("spec") or {}).get("restartPolicy") != "OnFailure":
        return False
    restarts = sum(job_pods.restarts_of(pod) for pod in pods if phase_of(pod) in ("Running", "Pending"))
    return restarts > 0 if limit == 0 else restarts >= limit


def _seconds_left(job: Object, now: float) -> float | None:
    deadline, began = job["spec"].get("activeDeadlineSeconds"), (job.get("status") or {}).get("startTime")
    if deadline is None or not began or is_suspended(job):
        return None
    return float(parse_rfc3339(began) + deadline - now)


def _end_of_indexes(job: Object, counts: Counts) -> End | None:
    spec, failed = job["spec"], len(counts.failed_indexes)
    if spec.get("backoffLimitPerIndex") is not None:
        most = spec.get("maxFailedIndexes")
        if most is not None and failed > most:
            text = "Job has exceeded the specified maximal number of failed indexes"
            return End("Failed", "MaxFailedIndexesExceeded", text)
        if failed and failed + len(counts.completed) >= spec["completions"]:
            return End("Failed", "FailedIndexes", "Job has failed indexes")
    rule = matched_success_rule(job, counts.completed)
    return End("Complete", "SuccessPolicy", rule) if rule else None


def _is_done(job: Object, pods: Sequence[Object], counts: Counts) -> bool:
    completions = completions_of(job)
    if completions is None:
        # A work queue is empty once one worker says so and the others have ended.
        return counts.all_succeeded(job) > 0 and not any(is_active(pod) for pod in pods)
    return counts.all_succeeded(job) >= completions


def _manage(
    job: Object, pods: Sequence[Object], active: list[Object], counts: Counts, names: FreshNames, now: float,
    result: Plan,
) -> None:  # fmt: skip
    """As many pods as may run now, no more."""
    wanted = _wanted_active(job, active, counts)
    surplus = _surplus(job, active, counts, wanted, now)
    if surplus:
        result.dismiss = surplus
        return
    leaving = sum(is_leaving(pod) and phase_of(pod) not in ("Succeeded", "Failed") for pod in pods)
    missing = wanted - len(active) - (leaving if job_pods.replaces_failed_only(job) else 0)
    if missing <= 0:
        return
    if is_indexed(job):
        result.create = _missing_indexes(job, pods, counts, min(missing, BURST), names, now, result)
        return
    wait = _wait_after_failures(pods, now)
    if wait > 0:
        result.look_after = min(wait, result.look_after or math.inf)
        return
    result.create = [job_pods.new_pod(job, None, names) for _ in range(min(missing, BURST))]


def _wanted_active(job: Object, active: Sequence[Object], counts: Counts) -> int:
    parallelism: int = job["spec"].get("parallelism", 1)
    completions = completions_of(job)
    succeeded = counts.all_succeeded(job)
    if completions is None:
        # After the first success nobody new begins.
        return min(len(active), parallelism) if succeeded else parallelism
    return min(max(0, completions - succeeded - len(counts.failed_indexes)), parallelism)


def _surplus(job: Object, active: list[Object], counts: Counts, wanted: int, now: float) -> list[Object]:
    useless: list[Object] = []
    if is_indexed(job):
        done = counts.completed | counts.failed_indexes
        seen: set[int] = set()
        for pod in deletion_order(active, [], now)[::-1]:
            index = index_of(pod)
            if index is None or index >= (completions_of(job) or 0) or index in done or index in seen:
                useless.append(pod)
            else:
                seen.add(index)
    rest = [pod for pod in active if pod not in useless]
    return [*useless, *deletion_order(rest, [], now)[: max(0, len(rest) - wanted)]]


def _missing_indexes(
    job: Object, pods: Sequence[Object], counts: Counts, most: int, names: FreshNames, now: float, result: Plan
) -> list[Object]:
    """Pods for the lowest indexes that need one and whose time has come."""
    occupied = {index_of(pod) for pod in pods if _occupies(job, pod)}
    per_index = job["spec"].get("backoffLimitPerIndex") is not None
    by_index: dict[int | None, list[Object]] = {}
    for pod in pods:
        by_index.setdefault(index_of(pod), []).append(pod)
    found: list[Object] = []
    common_wait = 0.0 if per_index else _wait_after_failures(pods, now)
    for index in range(job["spec"]["completions"]):
        if len(found) >= most:
            break
        if index in counts.completed or index in counts.failed_indexes or index in occupied:
            continue
        before = by_index.get(index, [])
        wait = _wait_after_failures(before, now) if per_index else common_wait
        if wait > 0:
            result.look_after = min(wait, result.look_after or math.inf)
            continue
        failures, ignored = _history_of(job, before) if per_index else (0, 0)
        found.append(job_pods.new_pod(job, index, names, failures=failures, ignored=ignored))
    return found


def _occupies(job: Object, pod: Object) -> bool:
    """Nobody else may work on its index."""
    if is_active(pod):
        return True
    return job_pods.replaces_failed_only(job) and is_leaving(pod) and phase_of(pod) not in ("Succeeded", "Failed")


def _history_of(job: Object, before: Sequence[Object]) -> tuple[int, int]:
    """Failures that count and that do not, of all the index's pods up to the newest."""
    failed = [pod for pod in before if job_pods.counts_as_failed(job, pod)]
    if not failed:
        return 0, 0
    last = max(failed, key=generation_of)
    counted = judge_failure(job, last).is_counted
    failures = job_pods.failures_before(last) + counted
    return failures, job_pods.failures_before(last, job_pods.IGNORED_COUNT) + (not counted)


def _wait_after_failures(pods: Sequence[Object], now: float) -> float:
    """Seconds until the next pod may be made, by the failures since the last success."""
    ended = [pod for pod in pods if phase_of(pod) in ("Failed", "Succeeded")]
    ended.sort(key=job_pods.finished_at, reverse=True)
    failures = 0
    for pod in ended:
        if phase_of(pod) == "Succeeded":
            break
        failures += 1
    if not failures:
        return 0.0
    return max(0.0, job_pods.finished_at(ended[0]) + AGAIN.delay(failures - 1) - now)


def _tell_suspension(job: Object, status: Object, now: float, result: Plan) -> None:
    if is_suspended(job) and not is_true(job, "Suspended"):
        told = {"reason": "JobSuspended", "message": "Job suspended"}
        status["conditions"] = set_condition(status.get("conditions"), "Suspended", True, now=rfc3339(now), **told)
        result.events.append(("Normal", "Suspended", "Job suspended"))
        status.pop("startTime", None)
    elif not is_suspended(job) and is_true(job, "Suspended"):
        told = {"reason": "JobResumed", "message": "Job resumed"}
        status["conditions"] = set_condition(status.get("conditions"), "Suspended", False, now=rfc3339(now), **told)
        result.events.append(("Normal", "Resumed", "Job resumed"))
        # Its time begins anew.
        status["startTime"] = rfc3339(now)


def _fill_status(
    job: Object, status: Object, pods: Sequence[Object], active: Sequence[Object], counts: Counts, result: Plan
) -> None:
    """The numbers, as they will be when the plan has been carried out."""
    gone = {id(pod) for pod in (*result.delete, *result.dismiss)}
    staying = [pod for pod in active if id(pod) not in gone]
    leaving = [pod for pod in pods if is_leaving(pod) and phase_of(pod) not in ("Succeeded", "Failed")]
    numbers = {
        "active": len(staying) + len(result.create), "succeeded": counts.succeeded, "failed": counts.failed,
    }  # fmt: skip
    for name, number in numbers.items():
        status.pop(name, None)
        if number:
            status[name] = number
    status["ready"] = sum(is_ready(pod) for pod in staying)
    status["terminating"] = len(leaving) + len(gone)
    status["uncountedTerminatedPods"] = {name: uids for name, uids in counts.uncounted.items() if uids}
    if is_indexed(job):
        for name, found in (("completedIndexes", counts.completed), ("failedIndexes", counts.failed_indexes)):
            if found or name in status:
                status[name] = indexes.write(found)
        if job["spec"].get("backoffLimitPerIndex") is not None:
            status.setdefault("failedIndexes", "")


def _finish(status: Object, end: End, now: float, result: Plan) -> None:
    """Announce the end; it comes when nothing runs any more and everything is counted."""
    moment = rfc3339(now)
    told = {"reason": end.reason, "message": end.message}
    status["conditions"] = set_condition(status.get("conditions"), end.announced_by, True, now=moment, **told)
    if status.get("active") or status.get("terminating") or status["uncountedTerminatedPods"]:
        return
    status["conditions"] = set_condition(status["conditions"], end.kind, True, now=moment, **told)
    status.setdefault("startTime", moment)
    if end.kind == "Complete":
        status["completionTime"] = moment
        result.events.append(("Normal", "Completed", "Job completed"))
    else:
        result.events.append(("Warning", end.reason, end.message))
