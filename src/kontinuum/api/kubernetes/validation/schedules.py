"""What is wrong with a CronJob, above all with its schedule."""

from __future__ import annotations

import re

from kontinuum.api.kubernetes.schedules import read_schedule, read_zone
from kontinuum.api.kubernetes.validation.checks import non_negative
from kontinuum.api.kubernetes.validation.jobs import validate_job_template
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

LONGEST_NAME = 52
"""A Job's name is the CronJob's and eleven characters more."""
POLICIES = ("Allow", "Forbid", "Replace")
ZONE_PART = re.compile(r"[A-Za-z.\-_0-9+]{1,14}")


def validate_cron_job(spec: Object, old: Object | None) -> list[FieldError]:
    """``old`` is the spec before, None for a new CronJob."""
    errors = _schedule(spec.get("schedule", ""), spec.get("timeZone"), (old or {}).get("schedule", ""))
    errors += non_negative(spec.get("startingDeadlineSeconds"), "spec.startingDeadlineSeconds")
    if old is None or old.get("timeZone") != spec.get("timeZone"):
        errors += _time_zone(spec.get("timeZone"))
    policy = spec.get("concurrencyPolicy")
    if not policy:
        errors.append(fields.required("spec.concurrencyPolicy"))
    elif policy not in POLICIES:
        errors.append(fields.not_supported("spec.concurrencyPolicy", policy, POLICIES))
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    errors += validate_job_template(job, "spec.jobTemplate.spec")
    if job.get("selector") is not None:
        problem = "`selector` will be auto-generated"
        errors.append(fields.invalid("spec.jobTemplate.spec.selector", job["selector"], problem))
    if job.get("manualSelector"):
        errors.append(fields.not_supported("spec.jobTemplate.spec.manualSelector", True, ["nil", "false"]))
    for name in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        errors += non_negative(spec.get(name), f"spec.{name}")
    return errors


def _schedule(schedule: str, zone: str | None, old: str) -> list[FieldError]:
    path = "spec.schedule"
    if not schedule:
        return [fields.required(path)]
    problem = _schedule_problem(schedule)
    errors = [fields.invalid(path, schedule, problem)] if problem else []
    if "TZ" in schedule and "TZ" not in old:
        problem = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        errors.append(fields.invalid(path, schedule, problem))
    elif "TZ" in schedule and zone is not None:
        problem = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        errors.append(fields.invalid(path, schedule, problem))
    return errors


def _schedule_problem(schedule: str) -> str:
    """Why the schedule cannot be read, in the library's words; "" if it can."""
    try:
        read_schedule(schedule)
    except ValueError as error:
        return str(error)
    return ""


def _time_zone(zone: str | None) -> list[FieldError]:
    path = "spec.timeZone"
    if zone is None:
        return []
    if not zone:
        return [fields.invalid(path, zone, "timeZone must be nil or non-empty string")]
    unknown = [fields.invalid(path, zone, f"unknown time zone {zone}")]
    for part in zone.split("/"):
        if part in (".", "..") or part.startswith("-") or not ZONE_PART.fullmatch(part):
            return unknown
    if zone.lower() == "local":
        problem = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        return [fields.invalid(path, zone, problem)]
    try:
        read_zone(zone)
    except ValueError:
        return unknown
    return []
