"""What is wrong with the kinds that keep copies of a pod template (kubernetes ``pkg/apis/apps/validation``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kontinuum.api.kubernetes.validation.checks import (
    count_or_share,
    is_zero,
    non_negative,
    not_above_all,
    same,
    unchanged,
)
from kontinuum.api.kubernetes.validation.pods import validate_template
from kontinuum.api.kubernetes.validation.scheduling import validate_selector
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.selectors import LabelSelector, from_map, from_object

STATEFULSET_FREE = (
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
)  # fmt: skip
"""What of a StatefulSet's spec may change."""
STATEFULSET_FIXED = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
RETENTION = ("Retain", "Delete")


def validate_deployment(spec: Object) -> list[FieldError]:
    errors = _counts(spec, "replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
    errors += _selected_template(spec, "deployment", "ReplicaSet") + _deployment_strategy(spec.get("strategy") or {})
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
        problem = "must be greater than minReadySeconds"
        errors.append(fields.invalid("spec.progressDeadlineSeconds", deadline, problem))
    return errors


def validate_replicaset(spec: Object) -> list[FieldError]:
    return _counts(spec, "replicas", "minReadySeconds") + _selected_template(spec, "replicaset", "ReplicaSet")


def validate_daemonset(spec: Object) -> list[FieldError]:
    selector = spec.get("selector")
    errors = validate_selector(selector or {}, "spec.selector")
    labels = _template_labels(spec)
    if not errors and (selector is None or not from_object(selector).matches(labels)):
        problem = "`selector` does not match template `labels`"
        errors.append(fields.invalid("spec.template.metadata.labels", labels, problem))
    if selector is not None and _is_empty(selector):
        errors.append(fields.invalid("spec.selector", selector, "empty selector is invalid for daemonset"))
    errors += _template(spec, "DaemonSet") + _counts(spec, "minReadySeconds", "revisionHistoryLimit")
    return errors + _daemon_strategy(spec.get("updateStrategy") or {})


def validate_statefulset(spec: Object) -> list[FieldError]:
    errors = []
    policy = spec.get("podManagementPolicy")
    if not policy:
        errors.append(fields.required("spec.podManagementPolicy"))
    elif policy not in ("OrderedReady", "Parallel"):
        problem = "must be 'OrderedReady' or 'Parallel'"
        errors.append(fields.invalid("spec.podManagementPolicy", policy, problem))
    errors += _stateful_strategy(spec.get("updateStrategy") or {})
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for name, value in retention.items():
        if value not in RETENTION:
            errors.append(fields.not_supported(f"spec.persistentVolumeClaimRetentionPolicy.{name}", value, RETENTION))
    errors += _counts(spec, "replicas", "minReadySeconds", "revisionHistoryLimit")
    errors += non_negative((spec.get("ordinals") or {}).get("start"), "spec.ordinals.start")
    selector = spec.get("selector")
    if selector is None:
        return [*errors, fields.required("spec.selector"), *_stateful_template(spec, None)]
    wrong = validate_selector(selector, "spec.selector")
    if _is_empty(selector):
        wrong.append(fields.invalid("spec.selector", selector, "empty selector is invalid for statefulset"))
    return errors + wrong + _stateful_template(spec, None if wrong else from_object(selector))


def validate_statefulset_change(spec: Object, old: Object) -> list[FieldError]:
    changed = {**spec, **{name: old.get(name) for name in STATEFULSET_FREE}}
    return [] if same(changed, old) else [fields.forbidden("spec", STATEFULSET_FIXED)]


def validate_replication_controller(spec: Object) -> list[FieldError]:
    errors = _counts(spec, "minReadySeconds")
    selector = spec.get("selector") or {}
    if not selector:
        errors.append(fields.required("spec.selector"))
    if spec.get("replicas") is None:
        errors.append(fields.required("spec.replicas"))
    errors += _counts(spec, "replicas")
    if spec.get("template") is None:
        return [*errors, fields.required("spec.template")]
    if selector:
        errors += _matched(spec, from_map(selector))
    return errors + _template(spec, "ReplicationController")


def validate_counts(status: Object, old: Object, *names: str) -> list[FieldError]:
    """A workload's status: no number is negative, nothing of the pods is more than all of them."""
    errors = [error for name in (*names, "observedGeneration") for error in non_negative(
        status.get(name), f"status.{name}")]  # fmt: skip
    collisions, before = status.get("collisionCount"), old.get("collisionCount")
    errors += non_negative(collisions, "status.collisionCount")
    if (before or 0) > (collisions or 0):
        errors.append(fields.invalid("status.collisionCount", collisions or 0, "cannot be decremented"))
    return errors


def validate_shares(status: Object, names: Sequence[str], *, ready: str = "readyReplicas") -> list[FieldError]:
    """``names`` are counts of replicas with some quality; what is available is also ready."""
    errors = []
    for name in names:
        if (status.get(name) or 0) > (status.get("replicas") or 0):
            problem = "cannot be greater than status.replicas"
            errors.append(fields.invalid(f"status.{name}", status[name], problem))
    if (status.get("availableReplicas") or 0) > (status.get("readyReplicas") or 0):
        problem = f"cannot be greater than {ready}"
        errors.append(fields.invalid("status.availableReplicas", status["availableReplicas"], problem))
    return errors


def immutable_selector(obj: Object, old: Object) -> list[FieldError]:
    return unchanged(obj.get("spec") or {}, old.get("spec") or {}, "selector", "spec.selector")


def _counts(spec: Object, *names: str) -> list[FieldError]:
    return [error for name in names for error in non_negative(spec.get(name), f"spec.{name}")]


def _is_empty(selector: Object) -> bool:
    return not selector.get("matchLabels") and not selector.get("matchExpressions")


def _template_labels(spec: Object) -> Object:
    return ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}


def _selected_template(spec: Object, kind: str, owner: str) -> list[FieldError]:
    """A required selector that is not empty and matches the template; ``kind`` is the word in the messages."""
    selector = spec.get("selector")
    if selector is None:
        return [fields.required("spec.selector"), *_template(spec, owner)]
    errors = validate_selector(selector, "spec.selector")
    if _is_empty(selector):
        errors.append(fields.invalid("spec.selector", selector, f"empty selector is invalid for {kind}"))
    if errors:
        return errors + _template(spec, owner)
    return _matched(spec, from_object(selector)) + _template(spec, owner)


def _matched(spec: Object, selector: LabelSelector) -> list[FieldError]:
    labels = _template_labels(spec)
    if selector.matches(labels):
        return []
    problem = "`selector` does not match template `labels`"
    return [fields.invalid("spec.template.metadata.labels", labels, problem)]


def _template(spec: Object, owner: str) -> list[FieldError]:
    template = spec.get("template") or {}
    return validate_template(template, "spec.template") + _endless(template.get("spec") or {}, owner)


def _endless(pod: Object, owner: str) -> list[FieldError]:
    """Pods that are replaced for ever can neither end by themselves nor by a deadline."""
    errors = []
    if pod.get("restartPolicy") in ("OnFailure", "Never"):
        errors.append(fields.not_supported("spec.template.spec.restartPolicy", pod["restartPolicy"], ["Always"]))
    if pod.get("activeDeadlineSeconds") is not None:
        problem = f"activeDeadlineSeconds in {owner} is not Supported"
        errors.append(fields.forbidden("spec.template.spec.activeDeadlineSeconds", problem))
    return errors


def _stateful_template(spec: Object, selector: LabelSelector | None) -> list[FieldError]:
    """Mounts may name claims of ``volumeClaimTemplates``, which become volumes of each pod."""
    errors = _matched(spec, selector) if selector is not None else []
    template = spec.get("template") or {}
    pod = template.get("spec") or {}
    own = {one.get("name") for one in pod.get("volumes") or ()}
    claims = [((one.get("metadata") or {}).get("name") or "") for one in spec.get("volumeClaimTemplates") or ()]
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims if name not in own]
    whole = {**template, "spec": {**pod, "volumes": [*(pod.get("volumes") or ()), *volumes]}}
    return errors + validate_template(whole, "spec.template") + _endless(pod, "StatefulSet")


def _deployment_strategy(strategy: Object) -> list[FieldError]:
    kind, rolling, path = strategy.get("type"), strategy.get("rollingUpdate"), "spec.strategy.rollingUpdate"
    if kind == "Recreate":
        problem = "may not be specified when strategy `type` is 'Recreate'"
        return [] if rolling is None else [fields.forbidden(path, problem)]
    if kind != "RollingUpdate":
        return [fields.not_supported("spec.strategy.type", kind, ["Recreate", "RollingUpdate"])]
    if rolling is None:
        return [fields.required(path, "this should be defaulted and never be nil")]
    surge, unavailable = rolling.get("maxSurge", 0), rolling.get("maxUnavailable", 0)
    errors = count_or_share(unavailable, f"{path}.maxUnavailable") + count_or_share(surge, f"{path}.maxSurge")
    if is_zero(unavailable) and is_zero(surge):
        problem = "may not be 0 when `maxSurge` is 0"
        errors.append(fields.invalid(f"{path}.maxUnavailable", unavailable, problem))
    return errors + not_above_all(unavailable, f"{path}.maxUnavailable")


def _daemon_strategy(strategy: Object) -> list[FieldError]:
    kind, path = strategy.get("type"), "spec.updateStrategy"
    if kind == "OnDelete":
        return []
    if kind != "RollingUpdate":
        return [fields.not_supported(path, strategy, ["RollingUpdate", "OnDelete"])]
    rolling = strategy.get("rollingUpdate")
    path = f"{path}.rollingUpdate"
    if rolling is None:
        return [fields.required(path)]
    surge, unavailable = rolling.get("maxSurge", 0), rolling.get("maxUnavailable", 0)
    errors = []
    for name, value in (("maxUnavailable", unavailable), ("maxSurge", surge)):
        errors += count_or_share(value, f"{path}.{name}") + not_above_all(value, f"{path}.{name}")
    if not is_zero(unavailable) and not is_zero(surge):
        errors.append(fields.invalid(f"{path}.maxSurge", surge, "may not be set when maxUnavailable is non-zero"))
    if is_zero(unavailable) and is_zero(surge):
        errors.append(fields.required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    return errors


def _stateful_strategy(strategy: Object) -> list[FieldError]:
    kind, rolling, path = strategy.get("type"), strategy.get("rollingUpdate"), "spec.updateStrategy"
    if not kind:
        return [fields.required(path)]
    if kind not in ("RollingUpdate", "OnDelete"):
        return [fields.invalid(path, strategy, "must be 'RollingUpdate' or 'OnDelete'")]
    if rolling is None:
        return []
    path = f"{path}.rollingUpdate"
    if kind == "OnDelete":
        return [fields.invalid(path, rolling, "only allowed for updateStrategy 'RollingUpdate'")]
    errors = non_negative(rolling.get("partition"), f"{path}.partition")
    unavailable: Any = rolling.get("maxUnavailable")
    if unavailable is None:
        return errors
    errors += count_or_share(unavailable, f"{path}.maxUnavailable")
    if is_zero(unavailable):
        errors.append(fields.invalid(f"{path}.maxUnavailable", unavailable, "cannot be 0"))
    return errors + not_above_all(unavailable, f"{path}.maxUnavailable")
