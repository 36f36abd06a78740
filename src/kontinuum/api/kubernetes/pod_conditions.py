"""Conditions of pods as those say them who are not the pod's node."""

from __future__ import annotations

from kontinuum.api.machinery.conditions import set_condition
from kontinuum.api.machinery.objects import Object


def with_condition(
    pod: Object, kind: str, status: bool, *, now: str, reason: str = "", message: str = ""
) -> list[Object]:
    """The conditions of ``pod`` with this one, which says of which generation of the pod it was said (KEP-5067)."""
    return set_condition(
        (pod.get("status") or {}).get("conditions"), kind, status, now=now, reason=reason, message=message,
        observedGeneration=pod["metadata"].get("generation"),
    )  # fmt: skip
