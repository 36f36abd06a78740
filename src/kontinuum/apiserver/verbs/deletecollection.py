"""DELETE of a collection: each object that the selectors match, a few at a time."""

from __future__ import annotations

import asyncio

from aiohttp.web_response import StreamResponse

from kontinuum.api.kubernetes.schema import definition
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver import options
from kontinuum.apiserver.body import read_as
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.late_selection import read_selected
from kontinuum.apiserver.options import DELETE_OPTIONS
from kontinuum.apiserver.presenting import answer_list
from kontinuum.apiserver.verbs.delete import end
from kontinuum.apiserver.verbs.list import list_options, selection_of

AT_ONCE = 16
"""Deletes under way together; the store commits what comes together as one."""


async def deletecollection(context: Context, served: Served, call: Call) -> StreamResponse:
    """Answers the objects that were asked to end. Not atomic: an error leaves the rest undeleted, as in Kubernetes."""
    chosen = options.delete_options(call, await read_as(context, call, definition(DELETE_OPTIONS)))
    found = await read_selected(context, served, selection_of(served, call), list_options(call))
    waiting = iter(found.entries)

    async def work() -> None:
        for entry in waiting:
            try:
                await end(context, served, call, entry.name, chosen)
            except ApiError as error:
                if not error.is_not_found:
                    raise

    outcomes = await asyncio.gather(*(work() for _ in range(AT_ONCE)), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return await answer_list(context, call, served, found)
