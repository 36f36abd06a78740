"""Jobs, which run to an end, and CronJobs, which start them by the clock."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.defaults.jobs import default_cron_job, default_job
from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind
from kontinuum.api.kubernetes.kinds.workloads import TEMPLATE_COLUMNS
from kontinuum.api.kubernetes.tables import NONE, age, containers_and_images, human_duration
from kontinuum.api.kubernetes.validation.job_status import validate_job_status
from kontinuum.api.kubernetes.validation.jobs import (
    CONTROLLER_UID,
    JOB_NAME,
    OLD_CONTROLLER_UID,
    OLD_JOB_NAME,
    validate_job,
    validate_job_change,
    validate_job_spec,
)
from kontinuum.api.kubernetes.validation.schedules import LONGEST_NAME, validate_cron_job
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.conditions import is_true
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.selectors import from_object
from kontinuum.foundation.clock import parse_rfc3339


class Job(Kind):
    has_generation = True
    columns = (
        NAME,
        Column("Status", description="Status of the job."),
        Column("Completions", description="How many pods reached the phase Succeeded, of how many that shall."),
        Column("Duration", description="Time required to complete the job."),
        AGE,
        *TEMPLATE_COLUMNS,
    )
    selectable = ("status.successful",)
    read_for_selection = ("status.succeeded",)

    def default(self, obj: Object) -> None:
        default_job(obj)

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        if not obj["spec"].get("manualSelector"):
            _generate_selector(obj)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validate_job(obj)

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return validate_job_spec(obj["spec"]) + validate_job_change(obj, old)

    def validate_status(self, obj: Object, old: Object) -> list[FieldError]:
        return super().validate_status(obj, old) + validate_job_status(obj, old)

    def fields(self, obj: Object) -> dict[str, str]:
        return {"status.successful": str((obj.get("status") or {}).get("succeeded") or 0)}

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        names, images = containers_and_images((spec.get("template") or {}).get("spec") or {})
        return [
            obj["metadata"].get("name", ""),
            _state(obj),
            _completions(spec, obj.get("status") or {}),
            _duration(obj.get("status") or {}, now),
            age(obj["metadata"].get("creationTimestamp"), now),
            names,
            images,
            str(from_object(spec.get("selector"))) or NONE,
        ]


class CronJob(Kind):
    has_generation = True
    columns = (
        NAME,
        Column("Schedule", description="When Jobs are started, in Cron format."),
        Column("Timezone", description="The time zone of the schedule."),
        Column("Suspend", "boolean", description="Whether no more Jobs are started."),
        Column("Active", "integer", description="Jobs that are running."),
        Column("Last Schedule", description="When a Job was started last."),
        AGE,
        *TEMPLATE_COLUMNS,
    )

    def default(self, obj: Object) -> None:
        default_cron_job(obj)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        errors = validate_cron_job(obj["spec"], None)
        name = obj["metadata"].get("name", "")
        if len(name) > LONGEST_NAME:
            problem = f"must be no more than {LONGEST_NAME} characters"
            errors.append(fields.invalid("metadata.name", name, problem))
        return errors

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return validate_cron_job(obj["spec"], old["spec"])

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        job = (spec.get("jobTemplate") or {}).get("spec") or {}
        names, images = containers_and_images((job.get("template") or {}).get("spec") or {})
        last = status.get("lastScheduleTime")
        return [
            obj["metadata"].get("name", ""),
            spec.get("schedule", ""),
            NONE if spec.get("timeZone") is None else spec["timeZone"],
            {True: "True", False: "False", None: "<unset>"}[spec.get("suspend")],
            len(status.get("active") or ()),
            age(last, now) if last else NONE,
            age(obj["metadata"].get("creationTimestamp"), now),
            names,
            images,
            str(from_object(job.get("selector"))) or NONE,
        ]


def _generate_selector(job: Object) -> None:
    """Every Job selects its own pods by its uid. What the user set stays, and is refused if it does not fit."""
    metadata, spec = job["metadata"], job["spec"]
    template = spec["template"]["metadata"]
    labels = template["labels"] = {**(template.get("labels") or {})}
    labels.setdefault(JOB_NAME, metadata["name"])
    labels.setdefault(OLD_JOB_NAME, metadata["name"])
    labels.setdefault(CONTROLLER_UID, metadata["uid"])
    labels.setdefault(OLD_CONTROLLER_UID, metadata["uid"])
    selector = spec["selector"] = {**(spec.get("selector") or {})}
    selector["matchLabels"] = {CONTROLLER_UID: metadata["uid"], **(selector.get("matchLabels") or {})}


def _state(job: Object) -> str:
    for kind in ("Complete", "Failed"):
        if is_true(job, kind):
            return kind
    if job["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for kind in ("Suspended", "FailureTarget"):
        if is_true(job, kind):
            return kind
    return "Running"


def _completions(spec: Object, status: Object) -> str:
    succeeded = status.get("succeeded") or 0
    if spec.get("completions") is not None:
        return f"{succeeded}/{spec['completions']}"
    parallelism = spec.get("parallelism") or 0
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _duration(status: Object, now: float) -> str:
    if not status.get("startTime"):
        return ""
    end = parse_rfc3339(status["completionTime"]) if status.get("completionTime") else now
    return human_duration(end - parse_rfc3339(status["startTime"]))
