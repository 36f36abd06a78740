"""What is wrong with the kinds that keep copies of a pod template."""

from __future__ import annotations

import re
from typing import Any

from kontinuum.api.kubernetes.validation.pods import validate_template
from kontinuum.api.kubernetes.validation.scheduling import validate_selector
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.selectors import from_object

NEGATIVE = "must be greater than or equal to 0"


def validate_replicated(spec: Object, kind: str) -> list[FieldError]:
    """What Deployments and ReplicaSets have in common; ``kind`` is the word in the messages (``deployment``)."""
    errors = not_negative(spec, "replicas", "minReadySeconds", "revisionHistoryLimit")
    selector = spec.get("selector")
    if selector is None:
        errors.append(fields.required("spec.selector"))
    else:
        errors += _selector(selector, kind)
        labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
        if not errors and not from_object(selector).matches(labels):
            problem = "`selector` does not match template `labels`"
            errors.append(fields.invalid("spec.template.metadata.labels", labels, problem))
    return errors + _template(spec.get("template") or {})


def _selector(selector: Object, kind: str) -> list[FieldError]:
    errors = validate_selector(selector, "spec.selector")
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        errors.append(fields.invalid("spec.selector", selector, f"empty selector is invalid for {kind}"))
    return errors


def _template(template: Object) -> list[FieldError]:
    errors = validate_template(template, "spec.template")
    spec = template.get("spec") or {}
    if spec.get("restartPolicy") in ("OnFailure", "Never"):
        errors.append(fields.not_supported("spec.template.spec.restartPolicy", spec["restartPolicy"], ["Always"]))
    if spec.get("activeDeadlineSeconds") is not None:
        problem = "activeDeadlineSeconds in ReplicaSet is not Supported"
        errors.append(fields.forbidden("spec.template.spec.activeDeadlineSeconds", problem))
    return errors


def validate_strategy(strategy: Object) -> list[FieldError]:
    """A Deployment's ``spec.strategy``."""
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "Recreate":
        problem = "may not be specified when strategy `type` is 'Recreate'"
        return [] if rolling is None else [fields.forbidden("spec.strategy.rollingUpdate", problem)]
    if kind != "RollingUpdate":
        return [fields.not_supported("spec.strategy.type", kind, ["Recreate", "RollingUpdate"])]
    path = "spec.strategy.rollingUpdate"
    if rolling is None:
        return [fields.required(path, "this should be defaulted and never be nil")]
    surge, unavailable = rolling.get("maxSurge", 0), rolling.get("maxUnavailable", 0)
    errors = _count_or_share(unavailable, f"{path}.maxUnavailable") + _count_or_share(surge, f"{path}.maxSurge")
    if isinstance(unavailable, str) and not errors and int(unavailable[:-1]) > 100:
        errors.append(fields.invalid(f"{path}.maxUnavailable", unavailable, "must not be greater than 100%"))
    if _is_zero(unavailable) and _is_zero(surge):
        problem = "may not be 0 when `maxSurge` is 0"
        errors.append(fields.invalid(f"{path}.maxUnavailable", unavailable, problem))
    return errors


def _count_or_share(value: Any, path: str) -> list[FieldError]:
    if isinstance(value, int):
        return [] if value >= 0 else [fields.invalid(path, value, NEGATIVE)]
    if re.fullmatch(r"\d+%", value):
        return []
    problem = "a valid percent string must be a numeric string followed by an ending '%'"
    explained = f"{problem} (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
    return [fields.invalid(path, value, explained)]


def _is_zero(value: Any) -> bool:
    return value in (0, "0%")


def not_negative(spec: Object, *names: str) -> list[FieldError]:
    return [fields.invalid(f"spec.{name}", spec[name], NEGATIVE) for name in names if (spec.get(name) or 0) < 0]


def immutable(obj: Object, old: Object, field: str) -> list[FieldError]:
    """``spec.<field>`` may not change."""
    new, before = (obj.get("spec") or {}).get(field), (old.get("spec") or {}).get(field)
    return [] if new == before else [fields.invalid(f"spec.{field}", new, "field is immutable")]
