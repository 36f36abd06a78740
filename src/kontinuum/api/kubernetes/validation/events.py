"""What is wrong with an event. Both served forms are held to the older rules, the newer one to more."""

from __future__ import annotations

from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.identifiers import check
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

LENGTHS = {"reportingInstance": 128, "action": 128, "reason": 128}
NOTE_LENGTH = 1024
MISMATCH = "does not match event.namespace"
FIXED = {
    "regarding": "involvedObject", "reason": "reason", "note": "message", "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp", "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count", "type": "type", "eventTime": "eventTime", "action": "action", "related": "related",
    "reportingController": "reportingController", "reportingInstance": "reportingInstance",
}  # fmt: skip
"""What cannot change in the newer form: its name there → as Kubernetes' messages call it."""
UNSET = {
    "deprecatedFirstTimestamp": "firstTimestamp", "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count", "deprecatedSource": "source",
}  # fmt: skip


def validate_core(event: Object) -> list[FieldError]:
    """A ``v1 Event``. One with ``eventTime`` is of the newer kind, whoever writes it."""
    namespace = event["metadata"].get("namespace", "")
    about = (event.get("involvedObject") or {}).get("namespace", "")
    path = "involvedObject.namespace"
    if event.get("eventTime") is None:
        matches = namespace == about if about else namespace in ("", "default")
        return [] if matches else [fields.invalid(path, about, MISMATCH)]
    errors = []
    if not about and namespace not in ("default", "kube-system"):
        errors.append(fields.invalid(path, about, MISMATCH))
    controller = event.get("reportingComponent", "")
    errors += [] if controller else [fields.required("reportingController")]
    errors += check(controller, names.qualified_name(controller), "reportingController")
    for field, most in LENGTHS.items():
        value = event.get(field, "")
        errors += [] if value else [fields.required(field)]
        if len(value.encode()) > most:
            errors.append(fields.invalid(field, "", f"can have at most {most} characters"))
    if len(event.get("message", "").encode()) > NOTE_LENGTH:
        errors.append(fields.invalid("message", "", f"can have at most {NOTE_LENGTH} characters"))
    return errors


def validate_new(event: Object) -> list[FieldError]:
    """An ``events.k8s.io/v1 Event`` at its creation, beside what ``validate_core`` says."""
    kind = event.get("type", "")
    errors = _series(event)
    if event.get("eventTime") is None:
        errors.append(fields.required("eventTime"))
    if kind not in ("Normal", "Warning"):
        errors.append(fields.invalid("type", "", f"has invalid value: {kind}"))
    return errors + [fields.invalid(path, "", "needs to be unset") for field, path in UNSET.items() if event.get(field)]


def validate_new_change(event: Object, old: Object) -> list[FieldError]:
    """Only a series grows."""
    errors = _series(event) if event.get("series") != old.get("series") else []
    return errors + [
        fields.invalid(path, event.get(field), "field is immutable")
        for field, path in FIXED.items()
        if (event.get(field) or None) != (old.get(field) or None)
    ]


def _series(event: Object) -> list[FieldError]:
    series = event.get("series")
    if series is None:
        return []
    errors = []
    if series.get("count", 0) < 2:
        errors.append(fields.invalid("series.count", "", "should be at least 2"))
    if not series.get("lastObservedTime"):
        errors.append(fields.required("series.lastObservedTime"))
    return errors
