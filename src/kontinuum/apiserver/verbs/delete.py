"""DELETE of one object."""

from __future__ import annotations

from collections.abc import Callable

import orjson
from aiohttp.web_response import StreamResponse

from kontinuum.api.kubernetes.schema import definition
from kontinuum.api.machinery import status
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver import lifecycle, options, replies, versions
from kontinuum.apiserver.admission.requests import attributes_of, deletion_options, review
from kontinuum.apiserver.body import read_as
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.options import DELETE_OPTIONS, DeleteOptions
from kontinuum.apiserver.presenting import answer
from kontinuum.apiserver.services.reservation import let_go
from kontinuum.apiserver.storing import ATTEMPTS, Stored, replace
from kontinuum.store.port import Missing, StaleRevision


async def delete(context: Context, served: Served, call: Call) -> StreamResponse:
    """End an object, at once or in time (see ``lifecycle``). Raises ApiError 400, 403, 404, 409, 422."""
    chosen = options.delete_options(call, await read_as(context, call, definition(DELETE_OPTIONS)))
    stored, is_gone = await end(context, served, call, call.route.name, chosen)
    if is_gone and not served.strategy.answers_deleted_object:
        obj = orjson.loads(stored.value)
        success = status.success(served.resource, call.route.name, obj["metadata"]["uid"])
        return replies.of_object(success, replies.headers(call.audit_id, call.warnings, call.output.media))
    return answer(context, call, served, stored.value)


async def end(
    context: Context,
    served: Served,
    call: Call,
    name: str,
    chosen: DeleteOptions,
    *,
    admitted: bool = True,
    last_words: Callable[[Object], None] | None = None,
) -> tuple[Stored, bool]:
    """Delete one object; answers it as it is now, or was last, and whether it is gone. Raises as ``delete``.

    ``last_words`` may write into the object why it ends, in the same write that begins its end.
    """
    for _ in range(ATTEMPTS):
        entry = await context.current(served, call.route.namespace, name)
        obj = await versions.read(served.converter, entry.value)
        lifecycle.check_preconditions(served.resource, obj, chosen)
        if admitted:
            await _admit(context, served, call, obj, chosen)
        if last_words is not None:
            last_words(obj)
        if served.strategy.begin_deletion is not None:
            served.strategy.begin_deletion(obj, context.clock.time())
        plan = lifecycle.plan_deletion(obj, chosen, now=context.clock.time(), grace_of=served.strategy.grace_of)
        if not plan.is_gone and served.strategy.on_terminating is not None:
            served.strategy.on_terminating(plan.obj)
        try:
            if not plan.is_gone:
                return await replace(context, served, entry, plan.obj, dry_run=chosen.dry_run), False
            if chosen.dry_run:
                return Stored(await versions.present_one(served.converter, entry.value)), True
            record = await context.store.delete(entry.key, expected=entry.revision)
            await let_go(context, served, obj)
            if served.strategy.is_policy:
                await context.wait_revision(record.revision)
            last = served.layout.splice(record.value, record.revision)
            return Stored(await versions.present_one(served.converter, last)), True
        except StaleRevision as error:
            await context.catch_up(error.current)
        except Missing:
            raise status.not_found(served.resource, name) from None
    raise status.conflict(served.resource, name)


async def _admit(context: Context, served: Served, call: Call, obj: Object, chosen: DeleteOptions) -> None:
    made = deletion_options(chosen)
    name = obj["metadata"]["name"]
    attributes = attributes_of(
        "DELETE", served, call, old=obj, name=name, options=made, dry_run=chosen.dry_run
    )  # fmt: skip
    await review(context, attributes)
