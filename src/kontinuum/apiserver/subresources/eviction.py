"""``pods/eviction``: a delete that disruption budgets may refuse (``budgets``)."""

from __future__ import annotations

from functools import partial

import orjson
from aiohttp.web_response import StreamResponse

from kontinuum.api.kubernetes.pod_conditions import with_condition
from kontinuum.api.kubernetes.schema import definition_of
from kontinuum.api.machinery import status
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver import lifecycle, options
from kontinuum.apiserver.admission.chain import Kind
from kontinuum.apiserver.admission.requests import attributes_of, review
from kontinuum.apiserver.body import read_as
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.options import DeleteOptions
from kontinuum.apiserver.presenting import answer_success
from kontinuum.apiserver.storing import ATTEMPTS
from kontinuum.apiserver.subresources.budgets import spend_budget
from kontinuum.apiserver.verbs.delete import end
from kontinuum.foundation.clock import rfc3339

EVICTION = Kind("policy", "v1", "Eviction")


async def evict(context: Context, served: Served, call: Call) -> StreamResponse:
    """Raises ApiError 400, 403, 404, 409, 422, 429."""
    eviction = await read_as(context, call, definition_of("policy/v1", "Eviction"))
    if eviction is None:
        raise status.bad_request("the body is empty; expected an Eviction")
    name = (eviction.get("metadata") or {}).get("name")
    if name and name != call.route.name:
        raise status.bad_request("name in URL does not match name in Eviction object")
    dry_run = _options(call, eviction).dry_run
    why = partial(_disrupt, now=rfc3339(context.clock.time()))
    await review(context, attributes_of("CREATE", served, call, eviction, kind=EVICTION, dry_run=dry_run))
    for attempt in range(ATTEMPTS):
        entry = await context.current(served, call.route.namespace, call.route.name)
        pod: Object = orjson.loads(entry.value)
        asked = _options(call, eviction)
        lifecycle.check_preconditions(served.resource, pod, asked)
        chosen = await spend_budget(context, pod, asked)
        try:
            # The eviction has been admitted, maybe changed; the delete that carries it out is the server's own.
            await end(context, served, call, call.route.name, chosen, admitted=False, last_words=why)
            break
        except ApiError as error:
            # A pod that was free to go because it was not ready has changed.
            if not error.is_conflict or chosen is asked or attempt == ATTEMPTS - 1:
                raise
    return answer_success(call, 201)


def _disrupt(pod: Object, *, now: str) -> None:
    """Say in the pod that it was evicted, for those who ask why it ended, such as a Job's failure policy (KEP-3329)."""
    found = pod.setdefault("status", {})
    if found.get("phase") not in ("Succeeded", "Failed"):
        found["conditions"] = with_condition(
            pod, "DisruptionTarget", True, now=now, reason="EvictionByEvictionAPI", message="Eviction API: evicting"
        )


def _options(call: Call, eviction: Object) -> DeleteOptions:
    """Of the delete. Raises ApiError 400, 422."""
    wanted = dict(eviction.get("deleteOptions") or {})
    if options.dry_run(call):
        wanted["dryRun"] = ["All"]
    return options.delete_options(call, wanted)
