"""Which warnings there are about an object that is written, kind by kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.kubernetes.warnings.pods import of_pod, of_selector_terms
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.foundation.familiar import Familiar

Rule = Callable[[Object], Iterable[str]]
LONGEST_LABEL = 63
OLD_HINTS, HINTS = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"
INGRESS_CLASS = "kubernetes.io/ingress.class"
OLD_MOUNT_OPTIONS = "volume.beta.kubernetes.io/mount-options"
OLD_STORAGE_CLASS = "volume.beta.kubernetes.io/storage-class"
CRON_JOBS = "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/"


def warnings_of(resource: Resource, obj: Object, old: Object | None) -> list[str]:
    """What to tell who creates ``obj``, or makes it of ``old``."""
    found: list[str] = []
    if old is None and resource in NAMES_PODS:
        found += _name(obj, NAMES_PODS[resource])
    if resource == r.PODS and old is not None:
        return found  # Often changed, and never by people.
    path = TEMPLATES.get(resource)
    if path is not None and (old is None or _generation(obj) != _generation(old)):
        found += _template(obj, path)
    for rule in RULES.get(resource, ()):
        found += rule(obj)
    return found


def _name(obj: Object, of_what: str) -> Iterator[str]:
    """Names of pods become host names, whose parts are shorter than names may be, and have no dots."""
    name = name_of(obj)
    problems = [f"must be no more than {LONGEST_LABEL} bytes"] if len(name) > LONGEST_LABEL else []
    problems += ["must not contain dots"] if "." in name else []
    if problems:
        surprise = f"this is used in {of_what}, which can result in surprising behavior"
        yield f"metadata.name: {surprise}; a DNS label is recommended: [{' '.join(problems)}]"


def _pod(obj: Object) -> Iterable[str]:
    return of_pod(obj) if obj["metadata"].get("annotations") else _of_spec.of(obj["spec"])


_of_spec = Familiar(lambda spec: tuple(of_pod({"spec": spec})))


def _template(obj: Object, path: str) -> Iterator[str]:
    found = obj
    for part in path.split("."):
        found = found.get(part) or {}
    return of_pod(found, f"{path}.")


def _generation(obj: Object) -> int:
    return obj["metadata"].get("generation") or 0


def _service(obj: Object) -> Iterator[str]:
    """Kubernetes' ``pkg/api/service/warnings.go``."""
    spec, annotations = obj.get("spec") or {}, obj["metadata"].get("annotations") or {}
    kind, addresses = spec.get("type"), spec.get("externalIPs")
    if OLD_HINTS in annotations:
        yield f"annotation {OLD_HINTS} is deprecated, please use {HINTS} instead"
    is_headless = kind == "ClusterIP" and spec.get("clusterIP") == "None"
    if is_headless:
        if spec.get("loadBalancerIP"):
            yield "spec.loadBalancerIP is ignored for headless services"
        if addresses:
            yield "spec.externalIPs is ignored for headless services"
        if spec.get("sessionAffinity") not in (None, "", "None"):
            yield "spec.SessionAffinity is ignored for headless services"
    if addresses and not is_headless and kind != "ExternalName":
        yield "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
    if addresses and kind == "ExternalName":
        yield 'spec.externalIPs is ignored when spec.type is "ExternalName"'
    if spec.get("externalName") and kind != "ExternalName":
        yield 'spec.externalName is ignored when spec.type is not "ExternalName"'
    if spec.get("trafficDistribution") == "PreferClose":
        yield 'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'


def _ingress(obj: Object) -> Iterator[str]:
    if INGRESS_CLASS in (obj["metadata"].get("annotations") or {}):
        yield f"annotation \"{INGRESS_CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"


def _volume(obj: Object) -> Iterator[str]:
    spec, annotations = obj.get("spec") or {}, obj["metadata"].get("annotations") or {}
    if OLD_MOUNT_OPTIONS in annotations:
        problem = 'deprecated since v1.31; use the "mountOptions" field instead'
        yield f"metadata.annotations[{OLD_MOUNT_OPTIONS}]: {problem}"
    if OLD_STORAGE_CLASS in annotations:
        yield f"metadata.annotations[{OLD_STORAGE_CLASS}]: {STORAGE_CLASS_FIELD}"
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        advice = "Instead, the recommended approach is to use dynamic provisioning."
        yield f"spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. {advice}"
    required = (spec.get("nodeAffinity") or {}).get("required") or {}
    yield from of_selector_terms(
        required.get("nodeSelectorTerms") or (), "spec.nodeAffinity.required.nodeSelectorTerms"
    )


STORAGE_CLASS_FIELD = 'deprecated since v1.8; use "storageClassName" attribute instead'


def _claim(obj: Object) -> Iterator[str]:
    if OLD_STORAGE_CLASS in (obj["metadata"].get("annotations") or {}):
        yield f"metadata.annotations[{OLD_STORAGE_CLASS}]: {STORAGE_CLASS_FIELD}"


def _cron_job(obj: Object) -> Iterator[str]:
    if "TZ" in ((obj.get("spec") or {}).get("schedule") or ""):
        yield f"CRON_TZ or TZ used in spec.schedule is not officially supported, see {CRON_JOBS} for more details"


_HOSTS = "Pod names and hostnames"
NAMES_PODS = {
    r.PODS: "the Pod's hostname",
    **dict.fromkeys(
        (r.DEPLOYMENTS, r.REPLICASETS, r.REPLICATIONCONTROLLERS, r.STATEFULSETS, r.JOBS, r.CRONJOBS), _HOSTS
    ),
}
TEMPLATES = {
    **dict.fromkeys(
        (r.DEPLOYMENTS, r.REPLICASETS, r.REPLICATIONCONTROLLERS, r.STATEFULSETS, r.DAEMONSETS, r.JOBS), "spec.template"
    ),
    r.CRONJOBS: "spec.jobTemplate.spec.template",
    r.PODTEMPLATES: "template",
}
RULES: dict[Resource, tuple[Rule, ...]] = {
    r.PODS: (_pod,),
    r.SERVICES: (_service,),
    r.INGRESSES: (_ingress,),
    r.PERSISTENTVOLUMES: (_volume,),
    r.PERSISTENTVOLUMECLAIMS: (_claim,),
    r.CRONJOBS: (_cron_job,),
}
