"""LimitRanges and ResourceQuotas: what one namespace may use. Admission holds others to them."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind, Undescribed
from kontinuum.api.kubernetes.tables import row
from kontinuum.api.kubernetes.validation.quotas import (
    validate_amounts,
    validate_limits,
    validate_quota,
    validate_quota_change,
)
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object


class LimitRange(Undescribed):
    def default(self, obj: Object) -> None:
        """For containers, limits are also the default limits, and those the default requests; minima come last."""
        for limit in (obj.get("spec") or {}).get("limits") or ():
            if limit.get("type") != "Container":
                continue
            limits = {**(limit.get("max") or {}), **(limit.get("default") or {})}
            requests = {**(limit.get("min") or {}), **limits, **(limit.get("defaultRequest") or {})}
            for name, amounts in (("default", limits), ("defaultRequest", requests)):
                if amounts:
                    limit[name] = amounts

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validate_limits((obj.get("spec") or {}).get("limits") or [])


class ResourceQuota(Kind):
    columns = (
        NAME,
        Column("Request", description="What is requested, and the most that may be."),
        Column("Limit", description="What is used at most, and the most that may be."),
        AGE,
    )

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validate_quota(obj.get("spec") or {})

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return self.validate_spec(obj) + validate_quota_change(obj.get("spec") or {}, old.get("spec") or {})

    def validate_status(self, obj: Object, old: Object) -> list[FieldError]:
        status = obj.get("status") or {}
        errors = super().validate_status(obj, old) + validate_amounts(status.get("hard") or {}, "status.hard")
        return errors + validate_amounts(status.get("used") or {}, "status.used")

    def cells(self, obj: Object, now: float) -> list[Any]:
        status = obj.get("status") or {}
        hard, used = status.get("hard") or {}, status.get("used") or {}
        shown = {name: f"{name}: {used.get(name, '0')}/{hard[name]}" for name in sorted(hard)}
        limits = [text for name, text in shown.items() if name.startswith("limits")]
        requests = [text for name, text in shown.items() if not name.startswith("limits")]
        return row(obj, now, ", ".join(requests), ", ".join(limits))
