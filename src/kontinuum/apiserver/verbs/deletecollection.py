"""DELETE of a collection: each object that the selectors match, one after another."""

from __future__ import annotations

from aiohttp.web_response import StreamResponse

from kontinuum.api.kubernetes.schema import definition
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver import options
from kontinuum.apiserver.body import read_as
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.options import DELETE_OPTIONS
from kontinuum.apiserver.presenting import answer_list
from kontinuum.apiserver.reading import read_list
from kontinuum.apiserver.verbs.delete import end
from kontinuum.apiserver.verbs.list import list_options, selection_of


async def deletecollection(context: Context, served: Served, call: Call) -> StreamResponse:
    """Answers the objects that were asked to end. Not atomic: an error leaves the rest undeleted, as in Kubernetes."""
    chosen = options.delete_options(call, await read_as(context, call, definition(DELETE_OPTIONS)))
    found = await read_list(context, served, selection_of(served, call), list_options(call))
    for entry in found.entries:
        try:
            await end(context, served, call, entry.name, chosen)
        except ApiError as error:
            if not error.is_not_found:
                raise
    return await answer_list(context, call, served, found)
