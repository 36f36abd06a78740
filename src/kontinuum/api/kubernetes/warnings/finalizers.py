"""Warnings about the finalizers of custom resources, which may have any name (apiextensions ``customresource``)."""

from __future__ import annotations

from collections.abc import Iterator

from kontinuum.api.machinery.objects import Object

STANDARD = ("orphan", "foregroundDeletion")
ADVICE = (
    "prefer a domain-qualified finalizer name including a path (/) "
    "to avoid accidental conflicts with other finalizer writers"
)


def warnings_of_finalizers(obj: Object, old: Object | None) -> Iterator[str]:
    """About each finalizer that ``obj`` has and ``old`` had not, which anybody else might come to use as well."""
    before = old["metadata"].get("finalizers") or () if old is not None else ()
    for name in sorted({*(obj["metadata"].get("finalizers") or ())} - {*before, *STANDARD}):
        if "/" not in name:
            yield f'metadata.finalizers: "{name}": {ADVICE}'
