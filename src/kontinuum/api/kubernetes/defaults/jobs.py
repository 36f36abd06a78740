"""Defaults of Jobs and CronJobs."""

from __future__ import annotations

from kontinuum.api.kubernetes.defaults.pods import fill
from kontinuum.api.kubernetes.defaults.workloads import default_template
from kontinuum.api.machinery.objects import Object

MOST_RETRIES = 2**31 - 1


def default_job(job: Object) -> None:
    spec = job.setdefault("spec", {})
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    spec.setdefault("parallelism", 1)
    # With a limit for each index the Job as a whole has none.
    spec.setdefault("backoffLimit", 6 if spec.get("backoffLimitPerIndex") is None else MOST_RETRIES)
    fill(spec, completionMode="NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    fill(spec, podReplacementPolicy="TerminatingOrFailed" if spec.get("podFailurePolicy") is None else "Failed")
    _default_failure_policy(spec)
    default_template(spec)
    labels = spec["template"]["metadata"].get("labels")
    if labels and not job["metadata"].get("labels"):
        job["metadata"]["labels"] = dict(labels)


def default_cron_job(cron_job: Object) -> None:
    spec = cron_job.setdefault("spec", {})
    fill(spec, concurrencyPolicy="Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    template = spec.setdefault("jobTemplate", {})
    template.setdefault("metadata", {})
    job = template.setdefault("spec", {})
    _default_failure_policy(job)
    default_template(job)


def _default_failure_policy(spec: Object) -> None:
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            fill(pattern, status="True")
