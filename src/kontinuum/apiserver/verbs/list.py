"""GET of a collection."""

from __future__ import annotations

from aiohttp.web_response import StreamResponse

from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.late_selection import read_selected
from kontinuum.apiserver.presenting import answer_list
from kontinuum.apiserver.reading import ListOptions
from kontinuum.apiserver.selection import Selection, selection


async def list_(context: Context, served: Served, call: Call) -> StreamResponse:
    """See ``reading`` for what is answered."""
    found = await read_selected(context, served, selection_of(served, call), list_options(call))
    return await answer_list(context, call, served, found)


def selection_of(served: Served, call: Call) -> Selection:
    """Raises ApiError 400."""
    query = call.query
    by_fields = query.get("fieldSelector", "")
    if call.route.name:  # An old path that watches one object.
        by_fields = ",".join(part for part in (f"metadata.name={call.route.name}", by_fields) if part)
    return selection(
        call.route.namespace,
        query.get("labelSelector", ""),
        by_fields,
        served.kind.selectable,
        served.converter.field_names if served.converter is not None else None,
    )


def list_options(call: Call) -> ListOptions:
    query = call.query
    return ListOptions(
        resource_version=query.get("resourceVersion", ""),
        match=query.get("resourceVersionMatch", ""),
        limit=call.number("limit"),
        continue_=query.get("continue", ""),
        sends_initial_events="sendInitialEvents" in query,
    )
