"""GET of one object."""

from __future__ import annotations

from aiohttp.web_response import StreamResponse

from kontinuum.api.machinery import status
from kontinuum.apiserver import versions
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.presenting import answer
from kontinuum.apiserver.reading import parse_version


async def get(context: Context, served: Served, call: Call) -> StreamResponse:
    """The object as it is now; with a resourceVersion, not older than that. Raises ApiError 400, 404, 504."""
    version = call.query.get("resourceVersion", "")
    if version:
        await context.wait_revision(parse_version(version))
    else:
        await context.catch_up()
    route = call.route
    entry = served.cache.get(served.layout.key(route.namespace, route.name))
    if entry is None:
        raise status.not_found(served.resource, route.name)
    return answer(context, call, served, await versions.present_one(served.converter, entry.value))
