"""The pods of a Job: how they are made, and what is read off them (kubernetes ``pkg/controller/job``)."""

from __future__ import annotations

from kontinuum.api.kubernetes.resources import JOBS, PODS
from kontinuum.api.machinery.conditions import get_condition
from kontinuum.api.machinery.objects import Object, annotations_of, name_of, namespace_of, uid_of
from kontinuum.api.machinery.patches import copy
from kontinuum.controllers.lib import owners
from kontinuum.controllers.lib.names import FreshNames
from kontinuum.controllers.lib.pods import is_finished, is_leaving, phase_of
from kontinuum.foundation.clock import parse_rfc3339

FINALIZER = "batch.kubernetes.io/job-tracking"
"""Keeps a pod until it has been counted."""
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURE_COUNT = "batch.kubernetes.io/job-index-failure-count"
IGNORED_COUNT = "batch.kubernetes.io/job-index-ignored-failure-count"
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"


def is_indexed(job: Object) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def completions_of(job: Object) -> int | None:
    completions = job["spec"].get("completions")
    return None if completions is None else int(completions)


def index_of(pod: Object) -> int | None:
    """The pod's completion index; None if it has none that can be read."""
    text = annotations_of(pod).get(INDEX, "")
    return int(text) if text.isdigit() else None


def is_tracked(pod: Object) -> bool:
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


def replaces_failed_only(job: Object) -> bool:
    """A pod that is only on its way out is not replaced yet (KEP-3939)."""
    return bool(job["spec"].get("podReplacementPolicy") == "Failed")


def counts_as_failed(job: Object, pod: Object) -> bool:
    """Failed; or, so that pods count which never come so far, on its way out."""
    if phase_of(pod) == "Failed":
        return True
    return not replaces_failed_only(job) and is_leaving(pod) and phase_of(pod) != "Succeeded"


def is_active(pod: Object) -> bool:
    return not is_finished(pod) and not is_leaving(pod)


def failures_before(pod: Object, annotation: str = FAILURE_COUNT) -> int:
    """How often pods of this index had failed when this one was made."""
    text = annotations_of(pod).get(annotation, "")
    return int(text) if text.isdigit() else 0


def finished_at(pod: Object) -> float:
    """When the last container ended, in seconds since the epoch; else when the pod was to go, or was no more ready."""
    status = pod.get("status") or {}
    ended = [
        (one.get("state") or {}).get("terminated", {}).get("finishedAt")
        for one in status.get("containerStatuses") or ()
    ]
    ready = get_condition(pod, "Ready") or {}
    known = [one for one in ended if one] or [
        pod["metadata"].get("deletionTimestamp") or ready.get("lastTransitionTime")
    ]
    known = [one for one in known if one] or [pod["metadata"]["creationTimestamp"]]
    return max(parse_rfc3339(one) for one in known)


def restarts_of(pod: Object) -> int:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return sum(one.get("restartCount", 0) for one in statuses)


def new_pod(job: Object, index: int | None, names: FreshNames, *, failures: int = 0, ignored: int = 0) -> Object:
    """A pod for ``index`` (None: the Job is not indexed), after so many failures of that index."""
    template = job["spec"]["template"]
    wanted = template.get("metadata") or {}
    base = name_of(job) if index is None else f"{name_of(job)}-{index}"
    name = names.child(base, uid_of(job))
    labels, annotations = dict(wanted.get("labels") or {}), dict(wanted.get("annotations") or {})
    spec = copy(template.get("spec") or {})
    if index is not None:
        labels[INDEX] = annotations[INDEX] = str(index)
        spec["hostname"] = base
        for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
            _tell_index(container)
    if job["spec"].get("backoffLimitPerIndex") is not None:
        annotations[FAILURE_COUNT] = str(failures)
        if ignored:
            annotations[IGNORED_COUNT] = str(ignored)
    metadata: Object = {"name": name, "generateName": f"{base}-", "namespace": namespace_of(job), "labels": labels}
    if annotations:
        metadata["annotations"] = annotations
    metadata["finalizers"] = [*(wanted.get("finalizers") or ()), FINALIZER]
    metadata["ownerReferences"] = [owners.controller_reference(job, JOBS)]
    return {"apiVersion": PODS.api_version, "kind": PODS.kind, "metadata": metadata, "spec": spec}


def _tell_index(container: Object) -> None:
    variables = container.setdefault("env", [])
    if not any(one.get("name") == INDEX_VARIABLE for one in variables):
        field = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}}
        variables.append({"name": INDEX_VARIABLE, "valueFrom": field})


def without_finalizer(pod: Object) -> Object:
    """A merge patch that lets the pod go, only if its finalizers are still those that we saw."""
    left = [one for one in pod["metadata"].get("finalizers") or () if one != FINALIZER]
    metadata = {"uid": uid_of(pod), "resourceVersion": pod["metadata"]["resourceVersion"], "finalizers": left or None}
    return {"metadata": metadata}
