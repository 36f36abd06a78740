"""``v1 Event`` (stored) and ``events.k8s.io/v1 Event``: the same facts, most under another name."""

from __future__ import annotations

from kontinuum.api.machinery.objects import Object

NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
"""Stored name → served name; all other fields are called the same."""
_STORED = {served: stored for stored, served in NAMES.items()}
_PARTS = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
FIELDS = {f"regarding.{part}": f"involvedObject.{part}" for part in _PARTS} | {
    "reportingController": "reportingComponent"
}
"""Selectable fields: served name → stored name."""


def from_core(event: Object) -> Object:
    return {NAMES.get(field, field): value for field, value in event.items()} | {
        "kind": "Event", "apiVersion": "events.k8s.io/v1",
    }  # fmt: skip


def to_core(event: Object) -> Object:
    return {_STORED.get(field, field): value for field, value in event.items()} | {
        "kind": "Event", "apiVersion": "v1",
    }  # fmt: skip
