"""Kinds that have little to say: events, leases and runtime classes."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind, as_text, read
from kontinuum.api.kubernetes.tables import UNKNOWN, age
from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.resources import validate_amounts
from kontinuum.api.kubernetes.validation.scheduling import validate_tolerations
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object


class Event(Kind):
    columns = (
        Column("Last Seen", description="When it happened last."),
        Column("Type", description="Normal or Warning."),
        Column("Reason", description="Why, in one word."),
        Column("Object", description="What it happened to."),
        Column("Subobject", priority=1, description="Which part of it."),
        Column("Source", priority=1, description="Who reports it."),
        Column("Message", description="What happened, in words."),
        Column("First Seen", priority=1, description="When it happened first."),
        Column("Count", priority=1, description="How often it happened."),
        Column("Name", priority=1, format="name", description=NAME.description),
    )
    selectable = (
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
        "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath",
        "reason", "reportingComponent", "source", "type",
    )  # fmt: skip

    def fields(self, obj: Object) -> dict[str, str]:
        found = {path: as_text(read(obj, path)) for path in self.selectable}
        found["source"] = _source(obj)
        return found

    def validate_spec(self, obj: Object) -> list[FieldError]:
        about = (obj.get("involvedObject") or {}).get("namespace", "")
        namespace = obj["metadata"].get("namespace", "")
        if about and about != namespace:
            return [fields.invalid("involvedObject.namespace", about, "does not match event.namespace")]
        if not about and namespace not in ("default", "kube-system"):
            return [fields.invalid("involvedObject.namespace", about, "does not match event.namespace")]
        return []

    def cells(self, obj: Object, now: float) -> list[Any]:
        about, series = obj.get("involvedObject") or {}, obj.get("series") or {}
        first = obj.get("firstTimestamp") or obj.get("eventTime")
        last = series.get("lastObservedTime") or obj.get("lastTimestamp") or first
        source = _source(obj)
        host = (obj.get("source") or {}).get("host") or obj.get("reportingInstance", "")
        return [
            age(last, now) if last else UNKNOWN,
            obj.get("type", ""),
            obj.get("reason", ""),
            f"{about.get('kind', '').lower()}/{about.get('name', '')}",
            about.get("fieldPath", ""),
            f"{source}, {host}" if host else source,
            obj.get("message", "").strip(),
            age(first, now) if first else UNKNOWN,
            series.get("count") or obj.get("count") or 1,
            obj["metadata"].get("name", ""),
        ]


class Lease(Kind):
    columns = (NAME, Column("Holder", description="Who holds the lease."), AGE)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        spec = obj.get("spec") or {}
        errors = []
        duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
        if duration is not None and duration <= 0:
            errors.append(fields.invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"))
        if transitions is not None and transitions < 0:
            problem = "must be greater than or equal to 0"
            errors.append(fields.invalid("spec.leaseTransitions", transitions, problem))
        return errors

    def cells(self, obj: Object, now: float) -> list[Any]:
        holder = (obj.get("spec") or {}).get("holderIdentity", "")
        return [obj["metadata"].get("name", ""), holder, age(obj["metadata"].get("creationTimestamp"), now)]


class RuntimeClass(Kind):
    columns = (NAME, Column("Handler", description="What the node's runtime calls this class."), AGE)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        handler = obj.get("handler", "")
        errors = [fields.invalid("handler", handler, problem) for problem in names.dns_label(handler)]
        errors += validate_amounts((obj.get("overhead") or {}).get("podFixed") or {}, "overhead.podFixed")
        tolerations = (obj.get("scheduling") or {}).get("tolerations") or []
        return errors + validate_tolerations(tolerations, "scheduling.tolerations")

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        errors = self.validate_spec(obj)
        if obj.get("handler") != old.get("handler"):
            errors.append(fields.invalid("handler", obj.get("handler"), "field is immutable"))
        return errors

    def cells(self, obj: Object, now: float) -> list[Any]:
        metadata = obj["metadata"]
        return [metadata.get("name", ""), obj.get("handler", ""), age(metadata.get("creationTimestamp"), now)]


def _source(event: Object) -> str:
    return (event.get("source") or {}).get("component") or event.get("reportingComponent") or ""
