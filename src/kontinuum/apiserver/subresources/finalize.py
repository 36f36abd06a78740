"""``namespaces/finalize``: the only way to change ``spec.finalizers``. Without any, an ending namespace goes."""

from __future__ import annotations

from aiohttp.web_response import StreamResponse

from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver import options, writing
from kontinuum.apiserver.body import read_object
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.presenting import answer
from kontinuum.apiserver.storing import change
from kontinuum.apiserver.verbs.update import check_name


async def finalize(context: Context, served: Served, call: Call) -> StreamResponse:
    """Raises ApiError 400, 404, 409."""
    sent = await read_object(context, served, call)
    check_name(writing.metadata_of(sent), call.route.name)

    def decide(old: Object) -> Object:
        writing.check_same_object(served.resource, sent["metadata"], old["metadata"])
        finalizers = (sent.get("spec") or {}).get("finalizers") or []
        return {**old, "spec": {**(old.get("spec") or {}), "finalizers": finalizers}}

    stored = await change(context, served, call, decide, dry_run=options.dry_run(call), checked=False)
    return answer(context, call, served, stored.value)
