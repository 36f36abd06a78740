"""What a LimitRange makes of a pod or claim, and what it refuses. Pure (Kubernetes' ``limitranger/admission.go``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from kontinuum.api.kubernetes.amounts import Amounts
from kontinuum.api.kubernetes.pod_resources import pod_limits, pod_requests
from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object

ANNOTATION = "kubernetes.io/limit-ranger"


def fill_in(pod: Object, limits: Sequence[Object]) -> None:
    """Give the pod's containers the defaults of ``limits`` (``spec.limits`` of one LimitRange), in place."""
    requests: Amounts = {}
    most: Amounts = {}
    for limit in limits:
        if limit.get("type") == "Container":
            requests.update(limit.get("defaultRequest") or {})
            most.update(limit.get("default") or {})
    notes: list[str] = []
    for field, what in (("containers", "container"), ("initContainers", "init container")):
        for container in pod["spec"].get(field) or ():
            set_requests = _fill(container, "requests", requests)
            set_limits = _fill(container, "limits", most)
            for names, side in ((set_requests, "request"), (set_limits, "limit")):
                if names:
                    notes.append(f"{', '.join(sorted(names))} {side} for {what} {container.get('name', '')}")
    if notes:
        annotations = dict(pod["metadata"].get("annotations") or {})
        annotations[ANNOTATION] = "LimitRanger plugin set: " + "; ".join(notes)
        pod["metadata"]["annotations"] = annotations


def _fill(container: Object, side: str, defaults: Mapping[str, str]) -> list[str]:
    """The names of the resources that were missing."""
    resources = container.get("resources") or {}
    amounts = resources.get(side) or {}
    missing = [name for name in defaults if name not in amounts]
    if missing:
        container["resources"] = {**resources, side: {**amounts, **{name: defaults[name] for name in missing}}}
    return missing


def pod_problems(pod: Object, limits: Sequence[Object]) -> list[str]:
    """Everything of ``limits`` that the pod does not keep to."""
    spec = pod["spec"]
    found: list[str] = []
    for limit in limits:
        kind = limit.get("type", "")
        if kind == "Container":
            for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
                resources = container.get("resources") or {}
                found += _bounds(kind, limit, resources.get("requests") or {}, resources.get("limits") or {})
        elif kind == "Pod":
            requests, most = pod_requests(spec, with_overhead=False), pod_limits(spec, with_overhead=False)
            found += _bounds(kind, limit, requests, most)
    return found


def claim_problems(claim: Object, limits: Sequence[Object]) -> list[str]:
    """Everything of ``limits`` that a PersistentVolumeClaim's requests do not keep to."""
    requests = ((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}
    found: list[str] = []
    for limit in limits:
        kind = limit.get("type", "")
        if kind == "PersistentVolumeClaim":
            found += _minima(kind, limit.get("min") or {}, requests, {})
            for name, most in (limit.get("max") or {}).items():
                found += _request_above(f"maximum {name} usage per {kind} is {_shown(most)}", most, requests.get(name))
    return found


def _bounds(kind: str, limit: Object, requests: Amounts, limits: Amounts) -> Iterator[str]:
    yield from _minima(kind, limit.get("min") or {}, requests, limits)
    for name, most in (limit.get("max") or {}).items():
        yield from _maximum(
            f"maximum {name} usage per {kind} is {_shown(most)}", most, requests.get(name), limits.get(name)
        )
    for name, ratio in (limit.get("maxLimitRequestRatio") or {}).items():
        rule = f"{name} max limit to request ratio per {kind} is {_shown(ratio)}"
        yield from _ratio(rule, ratio, requests.get(name), limits.get(name))


def _minima(kind: str, minima: Amounts, requests: Amounts, limits: Amounts) -> Iterator[str]:
    for name, least in minima.items():
        rule = f"minimum {name} usage per {kind} is {_shown(least)}"
        request, limit = requests.get(name), limits.get(name)
        if request is None:
            yield f"{rule}.  No request is specified"
        elif quantity.parse(request) < quantity.parse(least):
            yield f"{rule}, but request is {_shown(request)}"
        elif limit is not None and quantity.parse(limit) < quantity.parse(least):
            yield f"{rule}, but limit is {_shown(limit)}"


def _maximum(rule: str, most: str, request: str | None, limit: str | None) -> Iterator[str]:
    if limit is None:
        yield f"{rule}.  No limit is specified"
    elif quantity.parse(limit) > quantity.parse(most):
        yield f"{rule}, but limit is {_shown(limit)}"
    elif request is not None and quantity.parse(request) > quantity.parse(most):
        yield f"{rule}, but request is {_shown(request)}"


def _request_above(rule: str, most: str, request: str | None) -> Iterator[str]:
    if request is None:
        yield f"{rule}.  No request is specified"
    elif quantity.parse(request) > quantity.parse(most):
        yield f"{rule}, but request is {_shown(request)}"


def _ratio(rule: str, most: str, request: str | None, limit: str | None) -> Iterator[str]:
    asked, allowed = _number(request), _number(limit)
    if not asked:
        yield f"{rule}, but no request is specified or request is 0"
    elif not allowed:
        yield f"{rule}, but no limit is specified or limit is 0"
    elif allowed / asked > quantity.parse(most):
        yield f"{rule}, but provided ratio is {float(allowed / asked):f}"


def _number(amount: str | None) -> Decimal:
    return quantity.parse(amount) if amount is not None else Decimal(0)


def _shown(amount: str) -> str:
    return quantity.canonical(amount)
