"""Events: what happened to an object, served as ``v1`` and as ``events.k8s.io/v1``, stored as the former."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.conversion import events as conversion
from kontinuum.api.kubernetes.kinds.kind import NAME, Column, Kind, as_text, read
from kontinuum.api.kubernetes.tables import UNKNOWN, age
from kontinuum.api.kubernetes.validation import events as validation
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
    selectable: tuple[str, ...] = (
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
        "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath",
        "reason", "reportingComponent", "source", "type",
    )  # fmt: skip

    def fields(self, obj: Object) -> dict[str, str]:
        found = {path: as_text(read(obj, path)) for path in self.selectable}
        found["source"] = _source(obj)
        return found

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validation.validate_core(obj)

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
            _target(about),
            about.get("fieldPath", ""),
            f"{source}, {host}" if host else source,
            obj.get("message", "").strip(),
            age(first, now) if first else UNKNOWN,
            series.get("count") or obj.get("count") or 1,
            obj["metadata"].get("name", ""),
        ]


class EventV1(Event):
    """The newer form: stricter at creation, and what it says stays."""

    selectable = (
        *(f"regarding.{part}" for part in
          ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")),
        "reason", "reportingController", "type",
    )  # fmt: skip

    def fields(self, obj: Object) -> dict[str, str]:
        return {path: as_text(read(obj, path)) for path in self.selectable}

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return super().validate_spec(conversion.to_core(obj)) + validation.validate_new(obj)

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return super().validate_spec(conversion.to_core(obj)) + validation.validate_new_change(obj, old)

    def cells(self, obj: Object, now: float) -> list[Any]:
        return super().cells(conversion.to_core(obj), now)


def _target(about: Object) -> str:
    kind, name = about.get("kind", "").lower(), about.get("name", "")
    return f"{kind}/{name}" if name else kind


def _source(event: Object) -> str:
    return (event.get("source") or {}).get("component") or event.get("reportingComponent") or ""
