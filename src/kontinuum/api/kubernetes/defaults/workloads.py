"""Defaults of the kinds that carry a pod template."""

from __future__ import annotations

from kontinuum.api.kubernetes.defaults.pods import default_pod_spec
from kontinuum.api.machinery.objects import Object


def default_template(spec: Object) -> None:
    """The pod template in a workload's ``spec``."""
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    default_pod_spec(template.setdefault("spec", {}))


def default_deployment(deployment: Object) -> None:
    spec = deployment.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    strategy = spec.setdefault("strategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    default_template(spec)


def default_replicaset(replicaset: Object) -> None:
    spec = replicaset.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    default_template(spec)
