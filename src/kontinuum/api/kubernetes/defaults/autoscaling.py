"""Defaults of HorizontalPodAutoscalers (autoscaling/v2)."""

from __future__ import annotations

from typing import Any

from kontinuum.api.machinery.objects import Object

CPU_PERCENT = 80


def cpu_metric(percent: int) -> Object:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def default_autoscaler(autoscaler: Object) -> None:
    spec = autoscaler.setdefault("spec", {})
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        spec["metrics"] = [cpu_metric(CPU_PERCENT)]
    behavior = spec.get("behavior")
    if behavior is not None:
        # Growing may double, or add four pods, every 15 seconds; shrinking waits for as long as the controller says.
        behavior["scaleUp"] = _rules(
            behavior.get("scaleUp"), _policy("Pods", 4), _policy("Percent", 100), stabilizationWindowSeconds=0
        )
        behavior["scaleDown"] = _rules(behavior.get("scaleDown"), _policy("Percent", 100))


def _policy(kind: str, value: int) -> Object:
    return {"type": kind, "value": value, "periodSeconds": 15}


def _rules(given: Object | None, *policies: Object, **more: Any) -> Object:
    rules: Object = {"selectPolicy": "Max", "policies": list(policies), **more}
    return rules | {name: value for name, value in (given or {}).items() if value is not None}
