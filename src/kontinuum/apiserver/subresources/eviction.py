"""``pods/eviction``: a delete that disruption budgets may refuse. None are served yet, so none refuses."""

from __future__ import annotations

from aiohttp.web_response import StreamResponse

from kontinuum.api.kubernetes.schema import definition_of
from kontinuum.api.machinery import status
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver import options, replies
from kontinuum.apiserver.admission.chain import Kind
from kontinuum.apiserver.admission.requests import attributes_of, review
from kontinuum.apiserver.body import read_as
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.options import DeleteOptions
from kontinuum.apiserver.verbs.delete import end

EVICTION = Kind("policy", "v1", "Eviction")


async def evict(context: Context, served: Served, call: Call) -> StreamResponse:
    """Raises ApiError 400, 404, 409, 422."""
    eviction = await read_as(context, call, definition_of("policy/v1", "Eviction"))
    if eviction is None:
        raise status.bad_request("the body is empty; expected an Eviction")
    name = (eviction.get("metadata") or {}).get("name")
    if name and name != call.route.name:
        raise status.bad_request("name in URL does not match name in Eviction object")
    dry_run = _options(call, eviction).dry_run
    await review(context, attributes_of("CREATE", served, call, eviction, kind=EVICTION, dry_run=dry_run))
    # The eviction has been admitted, maybe changed; the delete that carries it out is the server's own.
    await end(context, served, call, call.route.name, _options(call, eviction), admitted=False)
    return replies.of_object(status.success(), replies.headers(call.audit_id, call.warnings), 201)


def _options(call: Call, eviction: Object) -> DeleteOptions:
    """Of the delete. Raises ApiError 400, 422."""
    wanted = dict(eviction.get("deleteOptions") or {})
    if options.dry_run(call):
        wanted["dryRun"] = ["All"]
    return options.delete_options(call, wanted)
