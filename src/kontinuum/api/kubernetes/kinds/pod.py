"""Pods: almost nothing of them may change, and the STATUS column is a small story of its own."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.defaults.pods import default_pod
from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind, keep
from kontinuum.api.kubernetes.kinds.pod_summary import summarize
from kontinuum.api.kubernetes.qos import qos_class
from kontinuum.api.kubernetes.tables import NONE, age, human_duration
from kontinuum.api.kubernetes.validation import metadata
from kontinuum.api.kubernetes.validation.pod_subresources import validate_ephemeral_change, validate_resize
from kontinuum.api.kubernetes.validation.pods import validate_pod_change, validate_pod_spec
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.conditions import find
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.patches import copy
from kontinuum.foundation.familiar import Familiar

GATED = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "SchedulingGated",
    "message": "Scheduling is blocked due to non-empty scheduling gates",
}
"""What a pod with scheduling gates says of itself until they are gone (``applySchedulingGatedCondition``)."""


class Pod(Kind):
    has_generation = True
    columns = (
        NAME,
        Column("Ready", description="The aggregate readiness state of this pod for accepting traffic."),
        Column("Status", description="The aggregate status of the containers in this pod."),
        Column("Restarts", description="The number of times the containers in this pod have been restarted."),
        AGE,
        Column("IP", priority=1, description="podIP address allocated to the pod."),
        Column("Node", priority=1, description="NodeName is a request to schedule this pod onto a specific node."),
        Column("Nominated Node", priority=1, description="The node that was made room on for this pod."),
        Column("Readiness Gates", priority=1, description="Conditions beyond the containers' that readiness needs."),
    )
    selectable = (
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
        "status.phase", "status.podIP", "status.nominatedNodeName",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        default_pod(obj.setdefault("spec", {}))

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        obj["status"] = {"phase": "Pending", "qosClass": qos_class(obj["spec"])}
        if obj["spec"].get("schedulingGates"):
            obj["status"]["conditions"] = [dict(GATED)]

    def prepare_status_update(self, obj: Object, old: Object) -> None:
        """A pod's labels and annotations may come with its status; its QoS class never changes."""
        for field in ("spec", "kind", "apiVersion"):
            keep(obj, old, field)
        for field in ("generation", "ownerReferences", "deletionGracePeriodSeconds"):
            keep(obj["metadata"], old["metadata"], field)
        quality = (old.get("status") or {}).get("qosClass")
        if quality:
            obj.setdefault("status", {}).setdefault("qosClass", quality)

    def prepare_subresource(self, subresource: str, obj: Object, old: Object) -> None:
        """Of ``ephemeralcontainers`` and ``resize`` only what they are for is taken."""
        if subresource == "status":
            self.prepare_status_update(obj, old)
            return
        sent, spec = obj.get("spec") or {}, copy(old["spec"])
        if subresource == "ephemeralcontainers":
            spec["ephemeralContainers"] = sent.get("ephemeralContainers") or []
        else:
            _resize(spec, sent)
        obj["spec"] = spec
        self.default(obj)
        for field in ("labels", "annotations", "finalizers", "ownerReferences"):
            keep(obj["metadata"], old["metadata"], field)
        if not spec.get("ephemeralContainers"):
            spec.pop("ephemeralContainers", None)
        self.prepare_update(obj, old)

    def validate_subresource(self, subresource: str, obj: Object, old: Object) -> list[FieldError]:
        rules = {"ephemeralcontainers": validate_ephemeral_change, "resize": validate_resize}
        if subresource in rules:
            return metadata.validate_update(obj["metadata"], old["metadata"]) + rules[subresource](obj, old)
        return super().validate_subresource(subresource, obj, old)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        errors = [*_problems.of(obj["spec"])]
        if obj["spec"].get("ephemeralContainers"):
            errors.append(fields.forbidden("spec.ephemeralContainers", "cannot be set on create"))
        if obj["spec"].get("nodeName") and obj["spec"].get("schedulingGates"):
            problem = "cannot be set until all schedulingGates have been cleared"
            errors.append(fields.forbidden("spec.nodeName", problem))
        return errors

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return [*_problems.of(obj["spec"]), *validate_pod_change(obj["spec"], old["spec"])]

    def fields(self, obj: Object) -> dict[str, str]:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        return {
            "spec.nodeName": spec.get("nodeName", ""),
            "spec.restartPolicy": spec.get("restartPolicy", ""),
            "spec.schedulerName": spec.get("schedulerName", ""),
            "spec.serviceAccountName": spec.get("serviceAccountName", ""),
            "spec.hostNetwork": "true" if spec.get("hostNetwork") else "false",
            "status.phase": status.get("phase", ""),
            "status.podIP": status.get("podIP", ""),
            "status.nominatedNodeName": status.get("nominatedNodeName", ""),
        }

    def cells(self, obj: Object, now: float) -> list[Any]:
        meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
        summary = summarize(obj)
        restarts = str(summary.restarts)
        if summary.restarts and summary.last_restart:
            restarts += f" ({human_duration(now - summary.last_restart)} ago)"
        addresses = status.get("podIPs") or [{"ip": status.get("podIP", "")}]
        return [
            meta.get("name", ""),
            f"{summary.ready}/{summary.total}",
            summary.reason,
            restarts,
            age(meta.get("creationTimestamp"), now),
            addresses[0].get("ip") or NONE,
            spec.get("nodeName") or NONE,
            status.get("nominatedNodeName") or NONE,
            _gates(spec, status),
        ]


_problems = Familiar(lambda spec: tuple(validate_pod_spec(spec, "spec")))


def _resize(spec: Object, sent: Object) -> None:
    """Of the containers that were sent only the resources are taken. Names, number and order are left as they were
    sent: what is refused in them must be seen (``dropNonResizeUpdates``)."""
    for group in ("containers", "initContainers"):
        known = {one["name"]: one for one in spec.get(group) or ()}
        wanted = [_resized(known.get(one.get("name")), one) for one in sent.get(group) or ()]
        if wanted or known:
            spec[group] = wanted


def _resized(container: Object | None, sent: Object) -> Object:
    """``container`` with the resources that were sent; what was sent, where there is no such container."""
    if container is None:
        return sent
    for field in ("resources", "resizePolicy"):
        keep(container, sent, field)
    return container


def _gates(spec: Object, status: Object) -> str:
    gates = spec.get("readinessGates") or []
    if not gates:
        return NONE
    conditions = status.get("conditions") or []
    passed = sum((find(conditions, gate["conditionType"]) or {}).get("status") == "True" for gate in gates)
    return f"{passed}/{len(gates)}"
