"""Which objects a list, watch or deletecollection is about: a namespace, labels and fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from kontinuum.api.machinery import status
from kontinuum.api.machinery.selectors import EVERYTHING, FieldSelector, LabelSelector, parse_fields, parse_labels

ALWAYS_SELECTABLE = ("metadata.name", "metadata.namespace")


class Selectable(Protocol):
    """What a selection looks at."""

    @property
    def namespace(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def labels(self) -> Mapping[str, str] | None: ...

    @property
    def fields(self) -> Mapping[str, str]:
        """The kind's own selectable fields; each is present."""
        ...


@dataclass(frozen=True)
class Selection:
    """``namespace`` "" means every namespace."""

    namespace: str = ""
    labels: LabelSelector = EVERYTHING
    fields: FieldSelector = EVERYTHING

    @property
    def is_everything(self) -> bool:
        """True if no selector narrows the namespace's objects."""
        return self.labels.is_empty and self.fields.is_empty

    @cached_property
    def is_unbounded(self) -> bool:
        """True if every object there is matches: what most watchers ask for, and are asked about at each change."""
        return not self.namespace and self.is_everything

    def matches(self, one: Selectable) -> bool:
        if self.namespace and one.namespace != self.namespace:
            return False
        if not self.labels.is_empty and not self.labels.matches(one.labels):
            return False
        if self.fields.is_empty:
            return True
        return self.fields.matches(
            {"metadata.name": one.name, "metadata.namespace": one.namespace, **one.fields},
        )


def selection(
    namespace: str, labels: str, fields: str, selectable: tuple[str, ...], stored_names: Mapping[str, str] | None = None
) -> Selection:
    """From the query's texts. Raises ApiError 400 for text that cannot be read or a field nobody can select by.

    ``stored_names``: selectable fields that have another name where the object is stored.
    """
    by_fields = parse_fields(fields) if fields else EVERYTHING
    for one in by_fields.requirements:
        if one.key not in ALWAYS_SELECTABLE and one.key not in selectable:
            raise _not_selectable(one.key, has_own=bool(selectable))
    if stored_names:
        renamed = (replace(one, key=stored_names.get(one.key, one.key)) for one in by_fields.requirements)
        by_fields = replace(by_fields, requirements=tuple(renamed))
    return Selection(namespace, parse_labels(labels) if labels else EVERYTHING, by_fields)


def _not_selectable(key: str, *, has_own: bool) -> status.ApiError:
    """In the words of the kind's own list of fields, or of those who have none."""
    if has_own:
        return status.bad_request(f"field label not supported: {key}")
    known = ", ".join(f'"{one}"' for one in ALWAYS_SELECTABLE)
    return status.bad_request(f'"{key}" is not a known field selector: only {known}')
