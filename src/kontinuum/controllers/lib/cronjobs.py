"""CronJobs, decided: which Job is to start now, which go, and what the status says (``cronjob_controllerv2.go``).

Of the scheduled times that have passed unused only the latest is made up for. A Job's name tells its time, so that the
API gives each time away once; what runs already counts as started even if nobody lived to write the status.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from kontinuum.api.kubernetes.resources import CRONJOBS, JOBS
from kontinuum.api.kubernetes.schedules import Schedule, read_schedule, read_zone
from kontinuum.api.machinery.conditions import is_true
from kontinuum.api.machinery.objects import Object, annotations_of, name_of, namespace_of, uid_of
from kontinuum.api.machinery.patches import copy
from kontinuum.controllers.lib import owners
from kontinuum.controllers.lib.jobs import is_finished
from kontinuum.controllers.lib.notices import Notice
from kontinuum.foundation.clock import parse_rfc3339, rfc3339

TIMESTAMP = "batch.kubernetes.io/cronjob-scheduled-timestamp"
MANY = 100
LONGEST_LOOK = 60.0
"""Seconds after which we look at the clock again at the latest: timers do not notice when somebody sets it."""
TOO_MANY = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
FORBIDDEN = "Not starting job because prior execution is running and concurrency policy is Forbid"
ZONE_IN_SCHEDULE = (
    'CRON_TZ or TZ used in schedule "{}" is not officially supported, '
    "see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
)


@dataclass(slots=True)
class Plan:
    """What to do, in this order: delete ``replace``, start, write ``status``, then delete ``forget``."""

    status: Object
    start: float | None = None
    """The scheduled time for which a Job is to be made."""
    replace: list[Object] = field(default_factory=list)
    """References of ``status.active`` to Jobs that must make room."""
    forget: list[Object] = field(default_factory=list)
    events: list[tuple[str, str, str]] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    look_after: float | None = None


def plan(cron_job: Object, jobs: Sequence[Object], now: float, *, since: float = 0.0) -> Plan:
    """``jobs`` are all that the CronJob controls. Times before ``since`` are nobody's: the schedule was another one."""
    result = Plan(dict(cron_job.get("status") or {}))
    _update_active(cron_job, jobs, result)
    _remember_success(jobs, result)
    _remember_starts(cron_job, jobs, result)
    if "deletionTimestamp" in cron_job["metadata"]:
        return result
    result.forget = _surplus(cron_job, jobs)
    schedule = None if cron_job["spec"].get("suspend") else _schedule(cron_job, result)
    if schedule is not None:
        _consider_start(cron_job, schedule, max(since, _last_start(cron_job, result)), now, result)
    return result


def unseen(cron_job: Object, jobs: Sequence[Object]) -> list[Object]:
    """The references of ``status.active`` to Jobs that are not among ``jobs``: they are gone, or not heard of yet."""
    known = {uid_of(job) for job in jobs}
    return [one for one in (cron_job.get("status") or {}).get("active") or () if one.get("uid") not in known]


def job_name(cron_job: Object, scheduled: float) -> str:
    """The name of the Job for a scheduled time: the time in minutes is part of it."""
    return f"{name_of(cron_job)}-{int(scheduled // 60)}"


def new_job(cron_job: Object, scheduled: float) -> Object:
    """The Job for a scheduled time."""
    template = cron_job["spec"].get("jobTemplate") or {}
    wanted = template.get("metadata") or {}
    metadata: Object = {"name": job_name(cron_job, scheduled), "namespace": namespace_of(cron_job)}
    if wanted.get("labels"):
        metadata["labels"] = dict(wanted["labels"])
    zone = cron_job["spec"].get("timeZone")
    moment = datetime.fromtimestamp(scheduled, read_zone(zone) if zone else UTC)
    stamp = moment.isoformat(timespec="seconds").replace("+00:00", "Z")
    metadata["annotations"] = {**(wanted.get("annotations") or {}), TIMESTAMP: stamp}
    metadata["ownerReferences"] = [owners.controller_reference(cron_job, CRONJOBS)]
    spec = copy(template.get("spec") or {})
    return {"apiVersion": JOBS.api_version, "kind": JOBS.kind, "metadata": metadata, "spec": spec}


def count_start(result: Plan, scheduled: float, job: Object) -> None:
    """The Job for a scheduled time is there: say so in the status."""
    if not is_finished(job):
        _add_active(result.status, job)
    _set_last_start(result.status, scheduled)


def drop_active(status: Object, uid: str) -> None:
    """Take a Job out of the list of active ones."""
    active = [one for one in status.get("active") or () if one.get("uid") != uid]
    status.pop("active", None)
    if active:
        status["active"] = active


def _add_active(status: Object, job: Object) -> None:
    if any(one.get("uid") == uid_of(job) for one in status.get("active") or ()):
        return
    reference = {
        "apiVersion": JOBS.api_version, "kind": JOBS.kind, "namespace": namespace_of(job), "name": name_of(job),
        "uid": uid_of(job), "resourceVersion": job["metadata"]["resourceVersion"],
    }  # fmt: skip
    status["active"] = [*(status.get("active") or ()), reference]


def _scheduled_time(cron_job: Object, job: Object) -> float | None:
    """When the Job was due, None if it is none of those that we make."""
    try:
        scheduled = parse_rfc3339(annotations_of(job).get(TIMESTAMP, ""))
    except ValueError:
        return None
    return scheduled if name_of(job) == job_name(cron_job, scheduled) else None


def _update_active(cron_job: Object, jobs: Sequence[Object], result: Plan) -> None:
    for reference in unseen(cron_job, jobs):
        drop_active(result.status, reference.get("uid", ""))
        result.events.append(("Normal", "MissingJob", f"Active job went missing: {reference.get('name', '')}"))
    active = {one.get("uid") for one in result.status.get("active") or ()}
    for job in jobs:
        if is_finished(job):
            if uid_of(job) in active:
                drop_active(result.status, uid_of(job))
                condition = "Complete" if is_true(job, "Complete") else "Failed"
                text = f"Saw completed job: {name_of(job)}, condition: {condition}"
                result.events.append(("Normal", "SawCompletedJob", text))
        elif uid_of(job) not in active and "deletionTimestamp" not in job["metadata"]:
            if _scheduled_time(cron_job, job) is not None:
                _add_active(result.status, job)
            else:
                text = f"Saw a job that the controller did not create or forgot: {name_of(job)}"
                result.notices.append(Notice("Warning", "UnexpectedJob", text, uid_of(job)))


def _remember_success(jobs: Sequence[Object], result: Plan) -> None:
    done = [(job.get("status") or {}).get("completionTime") for job in jobs if is_true(job, "Complete")]
    times = [one for one in (*done, result.status.get("lastSuccessfulTime")) if one]
    if times:
        result.status["lastSuccessfulTime"] = max(times, key=parse_rfc3339)


def _remember_starts(cron_job: Object, jobs: Sequence[Object], result: Plan) -> None:
    """Before any of the Jobs may be deleted: then nothing but the status would keep its time from starting again."""
    for job in jobs:
        scheduled = _scheduled_time(cron_job, job)
        if scheduled is not None:
            _set_last_start(result.status, scheduled)


def _set_last_start(status: Object, scheduled: float) -> None:
    before = status.get("lastScheduleTime")
    if not before or parse_rfc3339(before) < scheduled:
        status["lastScheduleTime"] = rfc3339(scheduled)


def _last_start(cron_job: Object, result: Plan) -> float:
    return parse_rfc3339(result.status.get("lastScheduleTime") or cron_job["metadata"]["creationTimestamp"])


def _schedule(cron_job: Object, result: Plan) -> Schedule | None:
    """None if it cannot be read; an older server may have let it pass."""
    text, zone = cron_job["spec"]["schedule"], cron_job["spec"].get("timeZone") or ""
    if zone:
        try:
            read_zone(zone)
        except ValueError as error:
            result.notices.append(Notice("Warning", "UnknownTimeZone", f'invalid timeZone: "{zone}": {error}'))
            return None
    if "TZ" in text:
        result.notices.append(Notice("Warning", "UnsupportedSchedule", ZONE_IN_SCHEDULE.format(text)))
    try:
        return read_schedule(text, zone)
    except ValueError as error:
        result.notices.append(Notice("Warning", "UnparseableSchedule", f'unparseable schedule: "{text}" : {error}'))
        return None


def _consider_start(cron_job: Object, schedule: Schedule, after: float, now: float, result: Plan) -> None:
    """Start the latest time that has passed since ``after``, if it is not too late and nothing forbids it."""
    deadline = cron_job["spec"].get("startingDeadlineSeconds")
    upcoming = schedule.next(max(after, now))
    if upcoming is None and schedule.next(after) is None:
        text = f"invalid schedule: {cron_job['spec']['schedule']} : no time matches it"
        result.notices.append(Notice("Warning", "InvalidSchedule", text))
        return
    # Even if none comes: the clock may have been set wrong.
    result.look_after = LONGEST_LOOK if upcoming is None else min(upcoming - now, LONGEST_LOOK)
    due = schedule.latest(after, now)
    if due is None:
        return
    subject = rfc3339(due)
    if deadline is not None and due + deadline < now:
        text = f"Missed scheduled time to start a job: {_rfc1123(due)}"
        result.notices.append(Notice("Warning", "MissSchedule", text, subject))
        return
    if _missed_many(schedule, after if deadline is None else max(after, now - deadline), now):
        result.notices.append(Notice("Warning", "TooManyMissedTimes", TOO_MANY, subject))
    policy, active = cron_job["spec"].get("concurrencyPolicy"), result.status.get("active") or []
    if policy == "Forbid" and active:
        result.notices.append(Notice("Normal", "JobAlreadyActive", FORBIDDEN, subject))
        return
    result.start = due
    result.replace = list(active) if policy == "Replace" else []


def _missed_many(schedule: Schedule, after: float, now: float) -> bool:
    for _ in range(MANY + 1):
        moment = schedule.next(after)
        if moment is None or moment > now:
            return False
        after = moment
    return True


def _surplus(cron_job: Object, jobs: Sequence[Object]) -> list[Object]:
    """Finished Jobs beyond what shall be kept, the oldest first."""
    surplus: list[Object] = []
    for condition, limit in (("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")):
        most = cron_job["spec"].get(limit)
        if most is None:
            continue
        ended = [job for job in jobs if is_true(job, condition) and "deletionTimestamp" not in job["metadata"]]
        ended.sort(key=_age)
        surplus += ended[: max(0, len(ended) - most)]
    return surplus


def _age(job: Object) -> tuple[bool, str, str]:
    """Sorts by the start; Jobs that never started last."""
    started = (job.get("status") or {}).get("startTime") or ""
    return not started, started, name_of(job)


def _rfc1123(moment: float) -> str:
    """Go's ``time.RFC1123Z``."""
    return datetime.fromtimestamp(moment, UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
