"""Selecting objects by labels and fields that they have only in the version that is asked for.

Where a webhook converts between versions, nobody else knows what ``spec.host`` is of an object that is stored with a
``spec.hostPort``, nor which labels it has. So the cache is asked for all that the rest of the selection allows, and
what comes is converted, and then selected. Names and namespaces are selected first, which converts less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import orjson

from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.selectors import EVERYTHING
from kontinuum.apiserver import versions
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.continuation import continue_token
from kontinuum.apiserver.events import Entry
from kontinuum.apiserver.reading import ListOptions, Slice, read_list
from kontinuum.apiserver.selection import ALWAYS_SELECTABLE, Selection
from kontinuum.apiserver.versions import Converter
from kontinuum.apiserver.watcher import Seen

Chosen = tuple[str, bytes]
"""The type of an event and the object that it shows."""
Matches = Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class Late:
    """What is asked of the cache (``wide``), and of converted objects (``matches``)."""

    wide: Selection
    converter: Converter
    matches: Matches


def late(served: Served, selection: Selection) -> Late | None:
    """None if the cache can answer the whole selection."""
    converter = served.converter
    own = tuple(one for one in selection.fields.requirements if one.key not in ALWAYS_SELECTABLE)
    if converter is None or not converter.is_external or (not own and selection.labels.is_empty):
        return None
    rest = tuple(one for one in selection.fields.requirements if one.key in ALWAYS_SELECTABLE)
    narrow = replace(selection.fields, requirements=own)
    wide = replace(selection, labels=EVERYTHING, fields=replace(selection.fields, requirements=rest))

    def matches(value: bytes) -> bool:
        obj: Object = orjson.loads(value)
        has_labels = selection.labels.matches(obj["metadata"].get("labels"))
        return has_labels and (narrow.is_empty or narrow.matches(served.kind.fields(obj)))

    return Late(wide, converter, matches)


async def read_selected(context: Context, served: Served, selection: Selection, options: ListOptions) -> Slice:
    """As ``read_list``, for every selection. Entries that had to be converted hold what came of it."""
    needed = late(served, selection)
    if needed is None:
        return await read_list(context, served, selection, options)
    found = await read_list(context, served, needed.wide, options)
    kept = await _selected(needed, found.entries)
    while found.continue_ and len(kept) < options.limit:
        following = ListOptions(limit=options.limit, continue_=found.continue_)
        found = await read_list(context, served, needed.wide, following)
        kept += await _selected(needed, found.entries)
    if options.limit and len(kept) > options.limit:
        kept = kept[: options.limit]
        return Slice(kept, found.revision, continue_token(found.revision, kept[-1].key))
    return Slice(kept, found.revision, found.continue_)


async def _selected(needed: Late, entries: Sequence[Entry]) -> list[Entry]:
    values = await versions.present(needed.converter, [entry.value for entry in entries])
    return [entry.showing(value) for entry, value in zip(entries, values, strict=True) if needed.matches(value)]


async def chosen(needed: Late, seen: Sequence[Seen]) -> list[Chosen]:
    """What a watcher sees of events that were let through by the wide selection."""
    sides: list[Seen] = []
    for type_, event in seen:
        # An update may enter the selection or leave it, so the object before it matters as well.
        sides += [(type_, event), ("DELETED", event)] if type_ == "MODIFIED" else [(type_, event)]
    values = iter(await versions.values_of(needed.converter, sides))
    found: list[Chosen] = []
    for type_, _ in seen:
        value = next(values)
        if type_ != "MODIFIED":
            found += [(type_, value)] if needed.matches(value) else []
            continue
        last = next(values)
        match needed.matches(last), needed.matches(value):
            case True, True:
                found.append(("MODIFIED", value))
            case False, True:
                found.append(("ADDED", value))
            case True, False:
                found.append(("DELETED", last))
    return found
