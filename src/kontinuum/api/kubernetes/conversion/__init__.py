"""Kinds that are served in several versions or groups but stored in one form (``Resource.stored_as``).

Pure conversions, one file per pair, with two functions that take an object, which they may change or take apart, and
return the other form complete with ``kind`` and ``apiVersion``. Nothing may be lost on the way there and back
(Kubernetes' round-trip rule): what one form cannot express goes into an annotation. No I/O; ``apiserver.versions``
calls them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.kubernetes.conversion import autoscaling, events
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource


@dataclass(frozen=True, slots=True)
class Conversion:
    """Between a served form and the stored one."""

    from_stored: Callable[[Object], Object]
    to_stored: Callable[[Object], Object]
    fields: Mapping[str, str] = field(default_factory=dict)
    """Selectable fields that have another name in the stored form: the served name → the stored one."""


CONVERSIONS: dict[Resource, Conversion] = {
    r.HORIZONTALPODAUTOSCALERS_V1: Conversion(autoscaling.to_v1, autoscaling.from_v1),
    r.EVENTS_V1: Conversion(events.from_core, events.to_core, events.FIELDS),
}
"""For every built-in resource that has ``stored_as``."""
