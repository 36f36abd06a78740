"""POST to a collection."""

from __future__ import annotations

from aiohttp.web_response import StreamResponse

from kontinuum.apiserver import options, writing
from kontinuum.apiserver.body import read_object
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.ownership import check_manager
from kontinuum.apiserver.presenting import answer
from kontinuum.apiserver.storing import insert


async def create(context: Context, served: Served, call: Call) -> StreamResponse:
    """Store a new object; 201. Raises ApiError 400, 403, 404 (namespace), 409, 413, 415, 422."""
    dry_run = options.dry_run(call)
    check_manager(call, "CreateOptions")
    obj = await read_object(context, served, call)
    metadata = writing.metadata_of(obj)
    writing.check_namespace(served.resource, metadata, call.route.namespace)
    writing.begin(metadata, now=context.clock.time())
    stored = await insert(context, served, call, obj, dry_run=dry_run)
    return answer(context, call, served, stored.value, 201)
