"""What is wrong with a Job's status. A finished Job stays finished, whoever writes the status (KEP-4368)."""

from __future__ import annotations

from itertools import chain
from typing import Any

from kontinuum.api.kubernetes.validation.checks import non_negative
from kontinuum.api.kubernetes.validation.indexes import BadIndexes, count_of, overlap
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.conditions import find
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.clock import parse_rfc3339

COUNTS = ("active", "succeeded", "failed", "ready", "terminating")
CONDITIONS = "status.conditions"


def validate_job_status(job: Object, old: Object) -> list[FieldError]:
    """Rules about a field hold only where it changes, so that an older object's faults do not block all updates."""
    facts = _Facts(job, old)
    errors = [error for name in COUNTS for error in non_negative(facts.status.get(name), f"status.{name}")]
    errors += _uncounted(facts.status.get("uncountedTerminatedPods") or {})
    errors += _completion(facts) + _finished(facts) + _criteria(facts) + _indexes(facts)
    if facts.status.get("ready") is not None and facts.status["ready"] > facts.number("active"):
        problem = "cannot set more ready pods than active"
        errors += [fields.invalid("status.ready", facts.status["ready"], problem)] if facts.changed("ready") else []
    return errors + _transitions(facts)


class _Facts:
    """A Job's status before and after, and what changed."""

    def __init__(self, job: Object, old: Object) -> None:
        self.spec: Object = job["spec"]
        self.status: Object = job.get("status") or {}
        self.before: Object = old.get("status") or {}

    def holds(self, kind: str) -> bool:
        return _holds(self.status, kind)

    def held(self, kind: str) -> bool:
        return _holds(self.before, kind)

    def turned(self, *kinds: str) -> bool:
        return any(self.holds(kind) != self.held(kind) for kind in kinds)

    def changed(self, name: str) -> bool:
        return bool(self.status.get(name) != self.before.get(name))

    def number(self, name: str) -> int:
        return int(self.status.get(name) or 0)

    @property
    def is_finished(self) -> bool:
        return self.holds("Complete") or self.holds("Failed")

    @property
    def has_finished(self) -> bool:
        """Finished or unfinished by this update."""
        return self.is_finished != (self.held("Complete") or self.held("Failed"))


def _holds(status: Object, kind: str) -> bool:
    return (find(status.get("conditions") or (), kind) or {}).get("status") == "True"


def _uncounted(pods: Object) -> list[FieldError]:
    errors = []
    seen: set[str] = set()
    for name in ("succeeded", "failed"):
        for index, uid in enumerate(pods.get(name) or ()):
            path = f"status.uncountedTerminatedPods.{name}[{index}]"
            if not uid:
                errors.append(fields.invalid(path, uid, "must not be empty"))
            elif uid in seen:
                errors.append(fields.duplicate(path, uid))
            seen.add(uid)
    return errors


def _completion(facts: _Facts) -> list[FieldError]:
    done, started = facts.status.get("completionTime"), facts.status.get("startTime")
    complete, path = facts.holds("Complete"), "status.completionTime"
    errors = []
    if facts.turned("Complete", "Failed") and complete and facts.holds("Failed"):
        errors.append(fields.invalid_here(CONDITIONS, "cannot set Complete=True and Failed=true conditions"))
    if facts.turned("Complete", "FailureTarget") and complete and facts.holds("FailureTarget"):
        errors.append(fields.invalid_here(CONDITIONS, "cannot set Complete=True and FailureTarget=true conditions"))
    if facts.turned("Complete") or facts.changed("completionTime"):
        if done and not complete:
            problem = "cannot set completionTime when there is no Complete=True condition"
            errors.append(fields.invalid(path, done, problem))
        if complete and not done:
            errors.append(fields.required(path, "completionTime is required for Complete jobs"))
    moved = facts.changed("startTime") or facts.changed("completionTime")
    if moved and done and started and parse_rfc3339(done) < parse_rfc3339(started):
        errors.append(fields.invalid(path, done, "completionTime cannot be set before startTime"))
    return errors


def _finished(facts: _Facts) -> list[FieldError]:
    if not facts.is_finished:
        return []
    errors = []
    for name in ("active", "terminating"):
        if (facts.has_finished or facts.changed(name)) and facts.number(name) > 0:
            errors.append(fields.invalid(f"status.{name}", facts.number(name), f"{name}>0 is invalid for finished job"))
    if (facts.has_finished or facts.changed("startTime")) and not facts.status.get("startTime"):
        errors.append(fields.required("status.startTime", "startTime is required for finished job"))
    pods = facts.status.get("uncountedTerminatedPods") or {}
    if (facts.has_finished or facts.changed("uncountedTerminatedPods")) and any(pods.values()):
        problem = "uncountedTerminatedPods needs to be empty for finished job"
        errors.append(fields.invalid("status.uncountedTerminatedPods", pods, problem))
    return errors


def _criteria(facts: _Facts) -> list[FieldError]:
    """A Job ends in two steps: what decided it comes first (SuccessCriteriaMet, FailureTarget), its end follows."""
    met, failed, target = facts.holds("SuccessCriteriaMet"), facts.holds("Failed"), facts.holds("FailureTarget")
    found = []
    if facts.turned("Failed", "FailureTarget") and failed and not target:
        found.append("cannot set Failed=True condition without the FailureTarget=true condition")
    if facts.turned("Complete", "SuccessCriteriaMet") and facts.holds("Complete") and not met:
        found.append("cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
    if met and failed:
        found.append("cannot set SuccessCriteriaMet=True and Failed=true conditions")
    if met and target:
        found.append("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
    if facts.spec.get("successPolicy") is not None and not met and facts.holds("Complete"):
        found.append("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")
    return [fields.invalid_here(CONDITIONS, problem) for problem in found]


def _indexes(facts: _Facts) -> list[FieldError]:
    completed, failed = facts.status.get("completedIndexes") or "", facts.status.get("failedIndexes")
    completions = facts.spec.get("completions")
    errors = []
    if facts.changed("completedIndexes"):
        errors += _readable(completed, completions, "completedIndexes")
        if completed and facts.spec.get("completionMode") != "Indexed":
            problem = "cannot set non-empty completedIndexes when non-indexed completion mode"
            errors.append(fields.invalid("status.completedIndexes", completed, problem))
    if facts.changed("failedIndexes") and failed is not None:
        errors += _readable(failed, completions, "failedIndexes")
        if facts.spec.get("backoffLimitPerIndex") is None:
            problem = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
            errors.append(fields.invalid("status.failedIndexes", failed, problem))
    if not errors and completions is not None and (facts.changed("failedIndexes") or facts.changed("completedIndexes")):
        errors += _disjoint(completed, failed or "", completions)
    return errors


def _readable(text: str, completions: int | None, name: str) -> list[FieldError]:
    if completions is None:
        return []
    try:
        count_of(text, completions)
    except BadIndexes as bad:
        return [fields.invalid(f"status.{name}", text, f"error parsing {name}: {bad}")]
    return []


def _disjoint(completed: str, failed: str, completions: int) -> list[FieldError]:
    try:
        shared = overlap(completed, failed, completions)
    except BadIndexes:
        return []  # What cannot be read has been told where it was changed.
    problem = f"failedIndexes and completedIndexes overlap at index: {shared}"
    return [] if shared is None else [fields.invalid("status.failedIndexes", failed, problem)]


def _transitions(facts: _Facts) -> list[FieldError]:
    errors = []
    for kind in ("Failed", "Complete", "FailureTarget"):
        if facts.held(kind) and not facts.holds(kind):
            errors.append(fields.invalid_here(CONDITIONS, f"cannot disable the terminal {kind}=True condition"))
    errors += _decreases(facts)
    times: Any = facts.status.get("completionTime"), facts.before.get("completionTime")
    if all(times) and times[0] != times[1]:
        errors.append(fields.invalid("status.completionTime", times[0], "completionTime cannot be mutated"))
    if facts.before.get("startTime") and facts.changed("startTime") and not facts.spec.get("suspend"):
        errors.append(fields.required("status.startTime", "startTime cannot be removed for unsuspended job"))
    if facts.held("SuccessCriteriaMet") and not facts.holds("SuccessCriteriaMet"):
        errors.append(fields.invalid_here(CONDITIONS, "cannot disable the SuccessCriteriaMet=True condition"))
    if facts.held("Complete") and facts.turned("SuccessCriteriaMet") and facts.holds("SuccessCriteriaMet"):
        problem = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"
        errors.append(fields.invalid_here(CONDITIONS, problem))
    return errors


def _decreases(facts: _Facts) -> list[FieldError]:
    """Counters only rise; a Job that is scaled by its completions may lose successes."""
    is_elastic = facts.spec.get("completionMode") == "Indexed"
    is_elastic = is_elastic and facts.spec.get("completions") == facts.spec.get("parallelism")
    counted = chain(["failed"], [] if is_elastic else ["succeeded"])
    return [
        fields.invalid(f"status.{name}", facts.number(name), f"cannot decrease the {name} counter")
        for name in counted
        if facts.number(name) < int(facts.before.get(name) or 0)
    ]
