"""``componentstatuses``: whether the server's parts are well, made when it is asked for. Read by old clients only."""

from __future__ import annotations

import orjson
from aiohttp.web_response import StreamResponse

from kontinuum.api.machinery import status
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.events import Entry
from kontinuum.apiserver.presenting import answer, answer_list
from kontinuum.apiserver.reading import Slice
from kontinuum.apiserver.verbs.list import selection_of
from kontinuum.store.port import StoreUnavailable

STORE = "etcd-0"
"""The name that people look for, whatever the store is."""


async def get_component(context: Context, served: Served, call: Call) -> StreamResponse:
    """Raises ApiError 404, 406."""
    if call.route.name != STORE:
        raise status.not_found(served.resource, call.route.name)
    return answer(context, call, served, await _state_of_store(context))


async def list_components(context: Context, served: Served, call: Call) -> StreamResponse:
    """Raises ApiError 400, 406."""
    selection = selection_of(served, call)
    entry = Entry(STORE, await _state_of_store(context), 0, namespace="", name=STORE, labels=None, fields={})
    entries = [entry] if selection.matches(entry) else []
    return await answer_list(context, call, served, Slice(entries, context.feed.applied))


async def _state_of_store(context: Context) -> bytes:
    try:
        await context.store.revision()
        condition = {"type": "Healthy", "status": "True", "message": "ok"}
    except StoreUnavailable as error:
        condition = {"type": "Healthy", "status": "False", "message": str(error), "error": str(error)}
    return orjson.dumps(
        {"kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": STORE}, "conditions": [condition]}
    )
