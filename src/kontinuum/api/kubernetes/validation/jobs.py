"""What is wrong with a Job, and with a change of it (kubernetes ``pkg/apis/batch/validation``)."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.checks import non_negative, same, unchanged
from kontinuum.api.kubernetes.validation.indexes import BadIndexes, count_of
from kontinuum.api.kubernetes.validation.job_policies import validate_failure_policy
from kontinuum.api.kubernetes.validation.pods import validate_template
from kontinuum.api.kubernetes.validation.scheduling import validate_selector
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.selectors import from_object

COUNTS = (
    "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
    "backoffLimitPerIndex", "maxFailedIndexes",
)  # fmt: skip
CONTROLLER_UID, JOB_NAME = "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"
OLD_CONTROLLER_UID, OLD_JOB_NAME = "controller-uid", "job-name"
LONGEST_MANAGER = 63
MOST_INDEXED = 100_000
"""Parallelism, or failed indexes, of an indexed Job."""
MANY_COMPLETIONS = 100_000
MOST_AT_MANY = 10_000
MOST_SUCCESS_RULES = 20
LONGEST_INDEXES = 64 * 1024
FIXED = ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")


def validate_job(job: Object) -> list[FieldError]:
    """A Job at its creation; its selector has been generated."""
    spec, name = job["spec"], job["metadata"].get("name", "")
    errors = _generated_selector(job) + validate_job_spec(spec)
    if spec.get("completionMode") == "Indexed" and (spec.get("completions") or 0) > 0:
        last = f"{name}-{spec['completions'] - 1}"
        if names.dns_label(last):
            problem = f"will not able to create pod with invalid DNS label: {last}"
            errors.append(fields.invalid("metadata.name", name, problem))
    return errors


def validate_job_spec(spec: Object) -> list[FieldError]:
    """The spec of a Job that exists, or is about to."""
    errors = validate_job_template(spec, "spec")
    selector = spec.get("selector")
    if selector is None:
        return [*errors, fields.required("spec.selector")]
    wrong = validate_selector(selector, "spec.selector")
    labels = _labels(spec)
    if not wrong and not from_object(selector).matches(labels):
        problem = "`selector` does not match template `labels`"
        wrong = [fields.invalid("spec.template.metadata.labels", labels, problem)]
    return errors + wrong


def validate_job_template(spec: Object, path: str) -> list[FieldError]:
    """Everything of a Job's spec but its selector, which a CronJob's template leaves out."""
    errors = [error for name in COUNTS for error in non_negative(spec.get(name), f"{path}.{name}")]
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        errors.append(fields.required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    errors += _manager(spec.get("managedBy"), f"{path}.managedBy")
    errors += _completion_mode(spec, path)
    if spec.get("podFailurePolicy") is not None:
        errors += validate_failure_policy(spec, f"{path}.podFailurePolicy")
    errors += _success_policy(spec, f"{path}.successPolicy")
    errors += _replacement(spec, f"{path}.podReplacementPolicy")
    errors += validate_template(spec.get("template") or {}, f"{path}.template")
    return errors + _restart_policy(spec, f"{path}.template.spec.restartPolicy")


def validate_job_change(job: Object, old: Object) -> list[FieldError]:
    """What a Job's spec may not change. Before its first start, where its pods go is still open."""
    spec, before = job["spec"], old["spec"]
    errors = _completions_change(spec, before) + unchanged(spec, before, "selector", "spec.selector")
    template = before.get("template") or {}
    if is_unstarted(old):
        template = _with_directives(template, spec.get("template") or {})
    if not same(spec.get("template"), template):
        errors.append(fields.invalid("spec.template", spec.get("template"), "field is immutable"))
    for name in FIXED:
        errors += unchanged(spec, before, name, f"spec.{name}")
    return errors


def is_unstarted(job: Object) -> bool:
    """Suspended, and never started or stopped again."""
    return bool(job["spec"].get("suspend")) and not (job.get("status") or {}).get("startTime")


def _with_directives(template: Object, new: Object) -> Object:
    """The old template with the scheduling directives of the new one."""
    spec, wanted = dict(template.get("spec") or {}), new.get("spec") or {}
    for name in ("nodeSelector", "tolerations", "schedulingGates"):
        spec[name] = wanted.get(name)
    affinity = {**(spec.get("affinity") or {}), "nodeAffinity": (wanted.get("affinity") or {}).get("nodeAffinity")}
    spec["affinity"] = {key: value for key, value in affinity.items() if value}
    metadata = {**(template.get("metadata") or {})}
    for name in ("labels", "annotations"):
        metadata[name] = (new.get("metadata") or {}).get(name)
    return {**template, "metadata": metadata, "spec": spec}


def _labels(spec: Object) -> Object:
    return ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}


def _generated_selector(job: Object) -> list[FieldError]:
    spec, metadata = job["spec"], job["metadata"]
    if spec.get("manualSelector") or spec.get("selector") is None:
        return []
    expected = {
        OLD_CONTROLLER_UID: metadata.get("uid", ""),
        OLD_JOB_NAME: metadata.get("name", ""),
        CONTROLLER_UID: metadata.get("uid", ""),
        JOB_NAME: metadata.get("name", ""),
    }
    labels = _labels(spec)
    errors = []
    for key, value in expected.items():
        where = "spec.template.metadata.labels"
        if key not in labels:
            errors.append(fields.required(where, f"must be '{value}'"))
        elif labels[key] != value:
            errors.append(fields.invalid(where, labels, f"must be '{value}'"))
    if not validate_selector(spec["selector"], "") and not from_object(spec["selector"]).matches(expected):
        errors.append(fields.invalid("spec.selector", spec["selector"], "`selector` not auto-generated"))
    return errors


def _manager(manager: str | None, path: str) -> list[FieldError]:
    if manager is None:
        return []
    errors = []
    if not manager:
        errors.append(fields.required(path))
    elif not all(manager.partition("/")[::2]):
        problem = 'must be a domain-prefixed path (such as "acme.io/foo")'
        errors.append(fields.invalid(path, manager, problem))
    else:
        errors += [fields.invalid(path, manager.partition("/")[0], one)
                   for one in names.dns_subdomain(manager.partition("/")[0])]  # fmt: skip
    if len(manager) > LONGEST_MANAGER:
        errors.append(fields.too_long(path, LONGEST_MANAGER))
    return errors


def _completion_mode(spec: Object, path: str) -> list[FieldError]:
    mode = spec.get("completionMode")
    if mode == "Indexed":
        return _indexed(spec, path)
    errors = []
    if mode not in (None, "NonIndexed"):
        errors.append(fields.not_supported(f"{path}.completionMode", mode, ["NonIndexed", "Indexed"]))
    for name in ("backoffLimitPerIndex", "maxFailedIndexes"):
        if mode in (None, "NonIndexed") and spec.get(name) is not None:
            errors.append(fields.invalid(f"{path}.{name}", spec[name], "requires indexed completion mode"))
    return errors


def _indexed(spec: Object, path: str) -> list[FieldError]:
    errors = []
    completions, parallelism, failed = (
        spec.get("completions"), spec.get("parallelism") or 0, spec.get("maxFailedIndexes"),
    )  # fmt: skip
    if completions is None:
        errors.append(fields.required(f"{path}.completions", "when completion mode is Indexed"))
    if parallelism > MOST_INDEXED:
        problem = f"must be less than or equal to {MOST_INDEXED} when completion mode is Indexed"
        errors.append(fields.invalid(f"{path}.parallelism", parallelism, problem))
    if failed is not None and completions is not None and failed > completions:
        errors.append(fields.invalid(f"{path}.maxFailedIndexes", failed, "must be less than or equal to completions"))
    if failed is not None and failed > MOST_INDEXED:
        problem = f"must be less than or equal to {MOST_INDEXED}"
        errors.append(fields.invalid(f"{path}.maxFailedIndexes", failed, problem))
    if (completions or 0) > MANY_COMPLETIONS and spec.get("backoffLimitPerIndex") is not None:
        errors += _many_completions(parallelism, failed, path)
    return errors


def _many_completions(parallelism: int, failed: int | None, path: str) -> list[FieldError]:
    problem = (
        f"must be less than or equal to {MOST_AT_MANY} when completions are above {MANY_COMPLETIONS} "
        "and used with backoff limit per index"
    )
    errors = []
    if failed is None:
        needed = f"must be specified when completions is above {MANY_COMPLETIONS}"
        errors.append(fields.required(f"{path}.maxFailedIndexes", needed))
    if parallelism > MOST_AT_MANY:
        errors.append(fields.invalid(f"{path}.parallelism", parallelism, problem))
    if failed is not None and failed > MOST_AT_MANY:
        errors.append(fields.invalid(f"{path}.maxFailedIndexes", failed, problem))
    return errors


def _success_policy(spec: Object, path: str) -> list[FieldError]:
    policy = spec.get("successPolicy")
    if policy is None:
        return []
    if spec.get("completionMode") != "Indexed":
        return [fields.invalid(path, policy, "requires indexed completion mode")]
    rules = policy.get("rules") or []
    errors = []
    if not rules:
        problem = "at least one rules must be specified when the successPolicy is specified"
        errors.append(fields.required(f"{path}.rules", problem))
    if len(rules) > MOST_SUCCESS_RULES:
        errors.append(fields.too_many(f"{path}.rules", len(rules), MOST_SUCCESS_RULES))
    for index, rule in enumerate(rules):
        errors += _success_rule(rule, spec.get("completions") or 0, f"{path}.rules[{index}]")
    return errors


def _success_rule(rule: Object, completions: int, path: str) -> list[FieldError]:
    count, indexes = rule.get("succeededCount"), rule.get("succeededIndexes")
    errors = []
    if count is None and indexes is None:
        problem = "at least one of succeededCount or succeededIndexes must be specified"
        errors.append(fields.required(path, problem))
    total = 0
    if indexes is not None:
        where = f"{path}.succeededIndexes"
        if len(indexes) > LONGEST_INDEXES:
            errors.append(fields.too_long(where, LONGEST_INDEXES))
        try:
            total = count_of(indexes, completions)
        except BadIndexes as bad:
            errors.append(fields.invalid(where, indexes, f"error parsing succeededIndexes: {bad}"))
    if count is not None:
        errors += _success_count(count, completions, f"{path}.succeededCount")
        if indexes is not None and count > total:
            problem = "(the number of indexes in the specified succeededIndexes field)"
            problem = f"must be less than or equal to {total} {problem}"
            errors.append(fields.invalid(f"{path}.succeededCount", count, problem))
    return errors


def _success_count(count: int, completions: int, path: str) -> list[FieldError]:
    errors = non_negative(count, path)
    if count > completions:
        problem = f"must be less than or equal to {completions} (the number of specified completions)"
        errors.append(fields.invalid(path, count, problem))
    return errors


def _replacement(spec: Object, path: str) -> list[FieldError]:
    policy = spec.get("podReplacementPolicy")
    supported = ["Failed"] if spec.get("podFailurePolicy") is not None else ["Failed", "TerminatingOrFailed"]
    return [] if policy is None or policy in supported else [fields.not_supported(path, policy, supported)]


def _restart_policy(spec: Object, path: str) -> list[FieldError]:
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
    if policy in (None, "", "Always"):
        return [fields.required(path, 'valid values: "OnFailure", "Never"')]
    if policy not in ("OnFailure", "Never"):
        return [fields.not_supported(path, policy, ["OnFailure", "Never"])]
    if spec.get("podFailurePolicy") is not None and policy != "Never":
        return [fields.invalid(path, policy, 'only "Never" is supported when podFailurePolicy is specified')]
    return []


def _completions_change(spec: Object, before: Object) -> list[FieldError]:
    """The completions of an indexed Job may follow its parallelism; all others are fixed."""
    new: Any = spec.get("completions")
    if new == before.get("completions"):
        return []
    if spec.get("completionMode") != "Indexed":
        return [fields.invalid("spec.completions", new, "field is immutable")]
    if new is not None and new != spec.get("parallelism"):
        problem = "can only be modified in tandem with spec.parallelism"
        return [fields.invalid("spec.completions", new, problem)]
    return []
