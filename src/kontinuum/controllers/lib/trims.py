"""What controllers keep of the objects that they follow: a cluster's pods are most of their memory."""

from __future__ import annotations

from kontinuum.api.kubernetes.node_fit import REQUIRED
from kontinuum.api.machinery.objects import Object
from kontinuum.client.shapes import METADATA, each, shape
from kontinuum.controllers.lib.placement import only_fields

SPEC_FIELDS = ("nodeName", "tolerations", "hostname", "subdomain", "resourceClaims")
STATUS_FIELDS = ("phase", "conditions", "podIP", "podIPs", "startTime", "resourceClaimStatuses")
CLAIM_FIELDS = ("name", "persistentVolumeClaim", "ephemeral")
_CONTAINERS = each("name", "restartPolicy", "ports", resources=shape("requests"))
_STATUSES = each("name", "restartCount", state=shape("terminated"))
POD = shape(
    "apiVersion", "kind",
    metadata=shape(*METADATA),
    spec=shape(
        *SPEC_FIELDS, "affinity",
        containers=_CONTAINERS, initContainers=_CONTAINERS, resources=shape("requests"), volumes=each(*CLAIM_FIELDS),
    ),
    status=shape(*STATUS_FIELDS, containerStatuses=_STATUSES, initContainerStatuses=_STATUSES),
)  # fmt: skip
"""What ``trim_pod`` reads."""


def trim_pod(pod: Object) -> Object:
    """Controllers run no containers: metadata, place, claims, requests, addresses and state are all they need."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    kept_spec = {key: spec[key] for key in SPEC_FIELDS if key in spec}
    if claims := [one for one in spec.get("volumes") or () if "persistentVolumeClaim" in one or "ephemeral" in one]:
        kept_spec["volumes"] = [{key: one[key] for key in CLAIM_FIELDS if key in one} for one in claims]
    for key in ("containers", "initContainers"):
        if kept := [_container(one) for one in spec.get(key) or ()]:
            kept_spec[key] = kept
    if requests := (spec.get("resources") or {}).get("requests"):
        kept_spec["resources"] = {"requests": requests}
    if fields := only_fields(spec):
        terms = [{"matchFields": one} for one in fields]
        kept_spec["affinity"] = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": terms}}}
    kept_status = {key: status[key] for key in STATUS_FIELDS if key in status}
    for key in ("containerStatuses", "initContainerStatuses"):
        if ends := [_ended(one) for one in status.get(key) or ()]:
            kept_status[key] = ends
    return {**pod, "spec": kept_spec, "status": kept_status}


def trim_attachment(attachment: Object) -> Object:
    """Attachments are made and deleted by us, never changed: where, of what, and how far."""
    spec, status = attachment.get("spec") or {}, attachment.get("status") or {}
    kept = {key: status[key] for key in ("attached", "attachError") if key in status}
    return {**attachment, "spec": {key: spec[key] for key in ("nodeName", "source") if key in spec}, "status": kept}


def trim_driver(driver: Object) -> Object:
    """Of CSI drivers it counts whether they attach."""
    spec = driver.get("spec") or {}
    return {**driver, "spec": {key: spec[key] for key in ("attachRequired",) if key in spec}}


def _ended(container: Object) -> Object:
    """How often a container has been started again, and how it ended."""
    kept = {key: container[key] for key in ("name", "restartCount") if key in container}
    ended = (container.get("state") or {}).get("terminated")
    return kept | ({"state": {"terminated": ended}} if ended else {})


def _container(container: Object) -> Object:
    """The ports that Services find by name, and the requests that usage is compared with."""
    kept: Object = {key: container[key] for key in ("name", "restartPolicy") if key in container}
    if ports := [port for port in container.get("ports") or () if port.get("name")]:
        kept["ports"] = ports
    if requests := (container.get("resources") or {}).get("requests"):
        kept["resources"] = {"requests": requests}
    return kept
