"""PodDisruptionBudgets: how many pods of an application may be evicted at a time."""

from __future__ import annotations

from typing import Any, ClassVar

from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind
from kontinuum.api.kubernetes.tables import row
from kontinuum.api.kubernetes.validation.checks import count_or_share, non_negative, not_above_all
from kontinuum.api.kubernetes.validation.scheduling import validate_selector
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

EVICTION_POLICIES = ("AlwaysAllow", "IfHealthyBudget")
COUNTS = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")


class PodDisruptionBudget(Kind):
    initial_status: ClassVar[Object] = {
        "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0,
    }  # fmt: skip
    has_generation = True
    columns = (
        NAME,
        Column("Min Available", description="The minimum number of pods that must be available."),
        Column("Max Unavailable", description="The maximum number of pods that may be unavailable."),
        Column("Allowed Disruptions", "integer", description="Calculated number of pods that may be disrupted now."),
        AGE,
    )

    def validate_spec(self, obj: Object) -> list[FieldError]:
        spec = obj.get("spec") or {}
        errors = []
        given = [name for name in ("minAvailable", "maxUnavailable") if spec.get(name) is not None]
        if len(given) > 1:
            problem = "minAvailable and maxUnavailable cannot be both set"
            errors.append(fields.invalid("spec", spec, problem))
        for name in given:
            errors += count_or_share(spec[name], f"spec.{name}") + not_above_all(spec[name], f"spec.{name}")
        errors += validate_selector(spec.get("selector") or {}, "spec.selector")
        policy = spec.get("unhealthyPodEvictionPolicy")
        if policy is not None and policy not in EVICTION_POLICIES:
            errors.append(fields.not_supported("spec.unhealthyPodEvictionPolicy", policy, EVICTION_POLICIES))
        return errors

    def validate_status(self, obj: Object, old: Object) -> list[FieldError]:
        status = obj.get("status") or {}
        errors = super().validate_status(obj, old)
        return errors + [error for name in COUNTS for error in non_negative(status.get(name), f"status.{name}")]

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        least, most = (spec.get(name) for name in ("minAvailable", "maxUnavailable"))
        shown = ["N/A" if one is None else str(one) for one in (least, most)]
        return row(obj, now, *shown, status.get("disruptionsAllowed", 0))
