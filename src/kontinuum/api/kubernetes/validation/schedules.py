"""What is wrong with a CronJob, above all with its schedule (the five-field syntax of ``robfig/cron``)."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kontinuum.api.kubernetes.validation.checks import non_negative
from kontinuum.api.kubernetes.validation.jobs import validate_job_template
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

LONGEST_NAME = 52
"""A Job's name is the CronJob's and eleven characters more."""
POLICIES = ("Allow", "Forbid", "Replace")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
RANGES: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, {name: index + 1 for index, name in enumerate(MONTHS)}),
    (0, 6, {name: index for index, name in enumerate(DAYS)}),
)
DESCRIPTORS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
DURATION = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))*")
ZONE_PART = re.compile(r"[A-Za-z.\-_0-9+]{1,14}")
ZONE_PREFIX = re.compile(r"(?:CRON_)?TZ=(\S+)\s+")


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
    problem = schedule_problem(schedule)
    errors = [fields.invalid(path, schedule, problem)] if problem else []
    if "TZ" in schedule and "TZ" not in old:
        problem = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        errors.append(fields.invalid(path, schedule, problem))
    elif "TZ" in schedule and zone is not None:
        problem = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        errors.append(fields.invalid(path, schedule, problem))
    return errors


def schedule_problem(schedule: str) -> str:
    """Why the schedule cannot be read, in the library's words; "" if it can."""
    zone = ZONE_PREFIX.match(schedule)
    if zone is not None:
        if not _is_zone(zone[1]):
            return f"provided bad location {zone[1]}: unknown time zone {zone[1]}"
        schedule = schedule[zone.end() :]
    if schedule.startswith("@"):
        return _descriptor_problem(schedule)
    parts = schedule.split()
    if len(parts) != len(RANGES):
        return f"expected exactly {len(RANGES)} fields, found {len(parts)}: {_listed(parts)}"
    for part, (low, high, words) in zip(parts, RANGES, strict=True):
        for entry in part.split(","):
            problem = _entry_problem(entry, low, high, words)
            if problem:
                return problem
    return ""


def _descriptor_problem(schedule: str) -> str:
    if schedule in DESCRIPTORS:
        return ""
    if not schedule.startswith("@every "):
        return f"unrecognized descriptor: {schedule}"
    text = schedule.removeprefix("@every ")
    if DURATION.fullmatch(text):
        return ""
    return f'failed to parse duration {schedule}: time: invalid duration "{text}"'


def _entry_problem(entry: str, low: int, high: int, words: dict[str, int]) -> str:
    """One range of one field: ``*``, ``3``, ``1-5``, ``*/15``, ``10-40/5``, ``mon-fri``."""
    span, slash, step = entry.partition("/")
    if "/" in step:
        return f"too many slashes: {entry}"
    first, dash, last = span.partition("-")
    if "-" in last:
        return f"too many hyphens: {entry}"
    start, end = low, high
    if first not in ("*", "?"):
        for text in (first, last) if dash else (first,):
            problem = _number_problem(text, words)
            if problem:
                return problem
        start = _number(first, words)
        end = _number(last, words) if dash else (high if slash else start)
    if slash and (problem := _number_problem(step, {})):
        return problem
    if start < low:
        return f"beginning of range ({start}) below minimum ({low}): {entry}"
    if end > high:
        return f"end of range ({end}) above maximum ({high}): {entry}"
    if start > end:
        return f"beginning of range ({start}) beyond end of range ({end}): {entry}"
    return f"step of range should be a positive number: {entry}" if slash and int(step) == 0 else ""


def _number_problem(text: str, words: dict[str, int]) -> str:
    if text.lower() in words or (text.isascii() and text.isdigit()):
        return ""
    if re.fullmatch(r"-\d+", text, re.ASCII):
        return f"negative number ({text}) not allowed: {text}"
    return f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax'


def _number(text: str, words: dict[str, int]) -> int:
    return words[text.lower()] if text.lower() in words else int(text)


def _listed(parts: list[str]) -> str:
    """Go's ``%s`` of a list."""
    return f"[{' '.join(parts)}]"


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
    return [] if _is_zone(zone) else unknown


def _is_zone(zone: str) -> bool:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
