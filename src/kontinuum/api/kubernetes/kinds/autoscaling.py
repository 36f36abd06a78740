"""HorizontalPodAutoscalers, in both their versions: the older one is looked at in the form of the newer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from kontinuum.api.kubernetes.conversion.autoscaling import from_v1
from kontinuum.api.kubernetes.defaults.autoscaling import default_autoscaler
from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind
from kontinuum.api.kubernetes.tables import NONE, UNKNOWN, row
from kontinuum.api.kubernetes.validation.autoscaling import validate_autoscaler
from kontinuum.api.kubernetes.validation.checks import non_negative
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

SHOWN_METRICS = 2


class HorizontalPodAutoscaler(Kind):
    # Kubernetes counts them from 1.37 on (kubernetes/kubernetes#138228): without, nobody can tell whether a status is
    # that of the present specification.
    has_generation = True
    initial_status: ClassVar[Object] = {"desiredReplicas": 0}
    columns = (
        NAME,
        Column("Reference", description="What is scaled."),
        Column("Targets", description="What is measured, and what it shall come to."),
        Column("MinPods", description="Lower limit of the number of pods."),
        Column("MaxPods", description="Upper limit of the number of pods."),
        Column("Replicas", description="Pods there are now."),
        AGE,
    )

    def default(self, obj: Object) -> None:
        default_autoscaler(obj)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validate_autoscaler(obj["spec"])

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return validate_autoscaler(obj["spec"], least=0 if (old.get("spec") or {}).get("minReplicas") == 0 else 1)

    def validate_status(self, obj: Object, old: Object) -> list[FieldError]:
        status = obj.get("status") or {}
        errors = super().validate_status(obj, old)
        for name in ("currentReplicas", "desiredReplicas"):
            errors += non_negative(status.get(name), f"status.{name}")
        return errors

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        target = spec.get("scaleTargetRef") or {}
        low = spec.get("minReplicas")
        return row(
            obj,
            now,
            f"{target.get('kind', '')}/{target.get('name', '')}",
            _targets(spec.get("metrics") or [], status.get("currentMetrics") or []),
            "<unset>" if low is None else str(low),
            spec.get("maxReplicas", 0),
            status.get("currentReplicas", 0),
        )


class HorizontalPodAutoscalerV1(HorizontalPodAutoscaler):
    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {}).setdefault("minReplicas", 1)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return super().validate_spec(from_v1(obj))

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return super().validate_update(from_v1(obj), old)

    def cells(self, obj: Object, now: float) -> list[Any]:
        return super().cells(from_v1(obj), now)


def _targets(metrics: Sequence[Object], current: Sequence[Object]) -> str:
    """``cpu: 10%/80%, 5/10 (avg) + 1 more...``"""
    if not metrics:
        return NONE
    shown = []
    for index, metric in enumerate(metrics[:SHOWN_METRICS]):
        kind = metric.get("type", "")
        name = kind[:1].lower() + kind[1:]
        now = ((current[index].get(name) or {}).get("current") or {}) if index < len(current) else {}
        shown.append(_target(kind, metric.get(name) or {}, now))
    text = ", ".join(shown)
    return f"{text} + {len(metrics) - SHOWN_METRICS} more..." if len(metrics) > SHOWN_METRICS else text


def _target(kind: str, source: Object, now: Object) -> str:
    target = source.get("target") or {}
    average = target.get("averageValue")
    if kind in ("Resource", "ContainerResource"):
        name = source.get("name", "")
        if average is not None:
            return f"{name}: {now.get('averageValue', UNKNOWN)}/{average}"
        share, wanted = now.get("averageUtilization"), target.get("averageUtilization")
        is_share = f"{share}%" if share is not None else UNKNOWN
        return f"{name}: {is_share}/{'<auto>' if wanted is None else f'{wanted}%'}"
    if kind == "Pods":
        return f"{now.get('averageValue', UNKNOWN)}/{average}"
    if average is not None:
        return f"{now.get('averageValue', UNKNOWN)}/{average} (avg)"
    return f"{now.get('value', UNKNOWN)}/{target.get('value', '')}"
