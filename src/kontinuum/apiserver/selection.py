"""Which objects a list, watch or deletecollection is about: a namespace, labels and fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from kontinuum.api.kubernetes.validation.names import label_value, qualified_name
from kontinuum.api.machinery import status
from kontinuum.api.machinery.fields import quoted
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
    return Selection(namespace, _by_labels(labels) if labels else EVERYTHING, by_fields)


def _by_labels(text: str) -> LabelSelector:
    """Raises ApiError 400 also for what no object could have: a mistake is told rather than answered by nothing."""
    selector = parse_labels(text)
    for one in selector.requirements:
        if problems := qualified_name(one.key):
            raise _unlike_labels("<nil>", one.key, problems)
        for place, value in enumerate(one.values):
            if problems := label_value(value):
                raise _unlike_labels(f"values[{place}][{one.key}]", value, problems)
    return selector


def _unlike_labels(field: str, value: str, problems: list[str]) -> status.ApiError:
    """In the words of apimachinery's ``pkg/labels``."""
    told = "; ".join(problems)
    return status.bad_request(f"unable to parse requirement: {field}: Invalid value: {quoted(value)}: {told}")


def _not_selectable(key: str, *, has_own: bool) -> status.ApiError:
    """In the words of the kind's own list of fields, or of those who have none."""
    if has_own:
        return status.bad_request(f"field label not supported: {key}")
    known = ", ".join(f'"{one}"' for one in ALWAYS_SELECTABLE)
    return status.bad_request(f'"{key}" is not a known field selector: only {known}')
