"""HorizontalPodAutoscalers between autoscaling/v2, in which they are stored, and v1, which knows one CPU target.

What v1 cannot say travels in the annotations that Kubernetes uses for it, in v1's own older words for metrics.
"""

from __future__ import annotations

from typing import Any

import orjson

from kontinuum.api.kubernetes.defaults.autoscaling import CPU_PERCENT, cpu_metric
from kontinuum.api.machinery.objects import Object

PREFIX = "autoscaling.alpha.kubernetes.io/"
METRICS, CURRENT = f"{PREFIX}metrics", f"{PREFIX}current-metrics"
CONDITIONS, BEHAVIOR = f"{PREFIX}conditions", f"{PREFIX}behavior"
ROUND_TRIP = (METRICS, CURRENT, CONDITIONS, BEHAVIOR)
SHARED_SPEC = ("scaleTargetRef", "minReplicas", "maxReplicas")
SHARED_STATUS = ("observedGeneration", "lastScaleTime", "currentReplicas", "desiredReplicas")


def to_v1(stored: Object) -> Object:
    spec, status = stored.get("spec") or {}, stored.get("status") or {}
    metrics, current = spec.get("metrics") or [], status.get("currentMetrics") or []
    kept: Object = {
        METRICS: [_metric_to_v1(one) for one in metrics if _cpu_percent(one, "target") is None],
        CURRENT: [_metric_to_v1(one) for one in current],
        CONDITIONS: status.get("conditions"),
        BEHAVIOR: spec.get("behavior"),
    }
    new_spec = {name: spec[name] for name in SHARED_SPEC if name in spec}
    # Clients of this version cannot read a status without its counts.
    new_status = {"currentReplicas": 0, "desiredReplicas": 0}
    new_status |= {name: status[name] for name in SHARED_STATUS if name in status}
    _put(new_spec, "targetCPUUtilizationPercentage", _first(_cpu_percent(one, "target") for one in metrics))
    _put(new_status, "currentCPUUtilizationPercentage", _first(_cpu_percent(one, "current") for one in current))
    metadata = _annotated(stored, {key: orjson.dumps(value).decode() for key, value in kept.items() if value})
    return {**stored, "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": new_spec, "status": new_status}


def from_v1(served: Object) -> Object:
    """What an annotation says that cannot be read is dropped, as Kubernetes does."""
    spec, status = served.get("spec") or {}, served.get("status") or {}
    annotations = served["metadata"].get("annotations") or {}
    metrics = [_metric_from_v1(one) for one in _list(annotations.get(METRICS))]
    percent = spec.get("targetCPUUtilizationPercentage")
    if percent is not None or not metrics:
        metrics.append(cpu_metric(CPU_PERCENT if percent is None else percent))
    new_spec = {name: spec[name] for name in SHARED_SPEC if name in spec} | {"metrics": metrics}
    behavior = _read(annotations.get(BEHAVIOR))
    _put(new_spec, "behavior", behavior if isinstance(behavior, dict) else None)
    new_status = {name: status[name] for name in SHARED_STATUS if name in status}
    _put(new_status, "conditions", _list(annotations.get(CONDITIONS)) or None)
    current = [_metric_from_v1(one, "current") for one in _list(annotations.get(CURRENT))]
    if not current and status.get("currentCPUUtilizationPercentage") is not None:
        share = status["currentCPUUtilizationPercentage"]
        current = [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": share}}}]
    _put(new_status, "currentMetrics", current or None)
    result = {**served, "apiVersion": "autoscaling/v2", "metadata": _annotated(served, {}), "spec": new_spec}
    return result | {"status": new_status}


def _annotated(obj: Object, added: dict[str, str]) -> Object:
    metadata = dict(obj["metadata"])
    annotations = {key: value for key, value in (metadata.pop("annotations", None) or {}).items()
                   if key not in ROUND_TRIP} | added  # fmt: skip
    return {**metadata, "annotations": annotations} if annotations else metadata


def _cpu_percent(metric: Object, side: str) -> int | None:
    """The share of a metric that v1 has a field for; None for any other."""
    source = metric.get("resource") or {}
    if metric.get("type") != "Resource" or source.get("name") != "cpu":
        return None
    share: int | None = (source.get(side) or {}).get("averageUtilization")
    return share


def _metric_to_v1(metric: Object) -> Object:
    kind = metric.get("type", "")
    name = kind[:1].lower() + kind[1:]
    source = metric.get(name) or {}
    side = "current" if "current" in source else "target"
    value, found = source.get(side) or {}, source.get("metric") or {}
    old: Object = {}
    if kind in ("Resource", "ContainerResource"):
        old = {key: source[key] for key in ("name", "container") if key in source}
        _put(old, f"{side}AverageUtilization", value.get("averageUtilization"))
        _put(old, f"{side}AverageValue", value.get("averageValue"))
        return {"type": kind, name: old}
    old["metricName"] = found.get("name", "")
    _put(old, "metricSelector" if kind == "External" else "selector", found.get("selector"))
    if kind == "Object":
        _put(old, "target", source.get("describedObject"))
        _put(old, "averageValue", value.get("averageValue"))
        # v1 requires a value; Kubernetes writes a zero where only the average was given.
        old[f"{side}Value"] = value.get("value") or "0"
    else:
        _put(old, f"{side}AverageValue", value.get("averageValue"))
        _put(old, f"{side}Value", value.get("value"))
    return {"type": kind, name: old}


def _metric_from_v1(metric: Object, side: str = "target") -> Object:
    kind = metric.get("type", "")
    name = kind[:1].lower() + kind[1:]
    old = metric.get(name) or {}
    average = old.get("averageValue") if kind == "Object" else old.get(f"{side}AverageValue")
    whole = old.get(f"{side}Value")
    if kind == "Object" and average is not None and whole == "0":
        whole = None
    value: Object = {}
    if side == "target":
        value["type"] = _target_type(old, average)
    _put(value, "averageUtilization", old.get(f"{side}AverageUtilization"))
    _put(value, "averageValue", average)
    _put(value, "value", whole)
    if kind in ("Resource", "ContainerResource"):
        source = {key: old[key] for key in ("name", "container") if key in old}
    else:
        source = {"metric": {"name": old.get("metricName", "")}}
        _put(source["metric"], "selector", old.get("metricSelector" if kind == "External" else "selector"))
        _put(source, "describedObject", old.get("target") if kind == "Object" else None)
    return {"type": kind, name: {**source, side: value}}


def _target_type(old: Object, average: Any) -> str:
    if old.get("targetAverageUtilization") is not None:
        return "Utilization"
    return "Value" if average is None else "AverageValue"


def _put(into: Object, name: str, value: Any) -> None:
    if value is not None:
        into[name] = value


def _first(values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _list(text: str | None) -> list[Object]:
    found = _read(text)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _read(text: str | None) -> Any:
    try:
        return orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return None
