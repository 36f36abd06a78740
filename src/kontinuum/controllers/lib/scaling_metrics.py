"""The metrics of a HorizontalPodAutoscaler: their names, states and errors in Kubernetes' words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object
from kontinuum.controllers.lib.scaling_ratio import Proposal

FIELDS = {
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "Pods": "pods",
    "Object": "object",
    "External": "external",
}
"""Where a metric of each type says what it is about."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One metric: what it asks for, and what is told of it."""

    proposal: Proposal
    name: str
    status: Object


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """One metric of which nothing is known: the condition's ``reason``, the ``problem`` itself, and ``message``, the

    same as part of a longer story.
    """

    reason: str
    problem: str
    message: str


@dataclass(frozen=True, slots=True)
class Choice:
    """What all metrics together ask for. ``problem`` is "" if each is known."""

    replicas: int | None
    """None: nothing may be done."""
    name: str
    problem: str
    first: Unmeasured | None


def choose(found: Sequence[Measured | Unmeasured], wanted: int) -> Choice:
    """The largest proposal; but nobody is scaled down from ``wanted`` while a metric is unknown."""
    unknown = [one for one in found if isinstance(one, Unmeasured)]
    known = [one for one in found if isinstance(one, Measured)]
    problem = ""
    if unknown:
        count = f"{len(unknown)} invalid out of {len(found)}"
        problem = f"invalid metrics ({count}), first error is: {unknown[0].message}"
    best = max(known, key=lambda one: one.proposal.replicas, default=None)
    if best is None or (unknown and best.proposal.replicas < wanted):
        return Choice(None, "", problem, unknown[0] if unknown else None)
    return Choice(best.proposal.replicas, best.name, problem, None)


def measured(metric: Object, proposal: Proposal) -> Measured:
    """``metric`` is one of the spec's, ``proposal`` what followed from its value."""
    kind = metric["type"]
    source = metric[FIELDS[kind]]
    target = source["target"]
    amount = quantity.format_milli(proposal.value)
    current: Object = {"value": amount} if target["type"] == "Value" else {"averageValue": amount}
    if proposal.utilization is not None:
        current["averageUtilization"] = proposal.utilization
    shown = {key: source[key] for key in ("name", "container", "metric", "describedObject") if key in source}
    return Measured(proposal, _name(kind, source), {"type": kind, FIELDS[kind]: {**shown, "current": current}})


def unmeasured(metric: Object, problem: str) -> Unmeasured:
    """``problem`` says what went wrong below the metric itself."""
    kind = metric["type"]
    source = metric[FIELDS[kind]]
    told = _told(kind, source, problem)
    if kind in ("Resource", "ContainerResource"):
        what = f"{source['name']} resource" if kind == "Resource" else f"{source['container']} container"
        return Unmeasured(f"FailedGet{kind}Metric", told, f"failed to get {what} metric value: {told}")
    what = f"{source['metric']['name']} external metric" if kind == "External" else f"{kind.lower()} metric"
    return Unmeasured(f"FailedGet{kind}Metric", told, f"failed to get {what} value: {told}")


def _told(kind: str, source: Object, problem: str) -> str:
    is_average = source["target"]["type"] != "Value"
    if kind in ("Resource", "ContainerResource"):
        of = "utilization" if source["target"].get("averageUtilization") is not None else "usage"
        return f"failed to get {source['name']} {of}: {problem}"
    metric = source["metric"]["name"]
    if kind == "External":
        return f"failed to get {metric} external metric: {problem}" if is_average else (
            f"failed to get external metric {metric}: {problem}"
        )  # fmt: skip
    return f"failed to get {metric} object metric: {problem}" if kind == "Object" and is_average else problem


def _name(kind: str, source: Object) -> str:
    """As a reason for scaling says it."""
    if kind == "Resource" or kind == "ContainerResource":
        name = f"{source['name']} {'container ' if kind == 'ContainerResource' else ''}resource"
        if source["target"].get("averageUtilization") is not None:
            return f"{name} utilization (percentage of request)"
        return f"{source['name']} resource"
    metric = source["metric"]["name"]
    if kind == "Pods":
        return f"pods metric {metric}"
    if kind == "Object" and source["target"]["type"] == "Value":
        return f"{source['describedObject']['kind']} metric {metric}"
    return f"external metric {metric}({as_go(source['metric'].get('selector'))})"


def as_go(selector: Object | None) -> str:
    """A label selector as Kubernetes' messages show it."""
    if selector is None:
        return "nil"
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.get("matchLabels") or {}).items()))
    expressions = "".join(
        f"LabelSelectorRequirement{{Key:{one['key']},Operator:{one['operator']},"
        f"Values:[{' '.join(one.get('values') or ())}],}},"
        for one in selector.get("matchExpressions") or ()
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
