"""PUT of one object, or of its status."""

from __future__ import annotations

from aiohttp.web_response import StreamResponse

from kontinuum.api.machinery import fields, status
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.patches import copy
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver import options, writing
from kontinuum.apiserver.body import read_object
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.ownership import check_manager
from kontinuum.apiserver.presenting import answer
from kontinuum.apiserver.storing import Stored, change, check_may_create, insert


async def update(context: Context, served: Served, call: Call) -> StreamResponse:
    """Replace an object; 200, or 201 where a kind may be created this way.

    Raises ApiError 400, 403, 404, 409, 413, 415, 422.
    """
    dry_run = options.dry_run(call)
    check_manager(call, "UpdateOptions")
    sent = await read_object(context, served, call)
    metadata = writing.metadata_of(sent)
    writing.check_namespace(served.resource, metadata, call.route.namespace)
    check_name(metadata, call.route.name)

    def decide(old: Object) -> Object:
        _check_version_given(served, metadata)
        # Deciding changes the object in place, and may have to be done again.
        return settle(served, call, copy(sent), old)

    try:
        stored = await change(context, served, call, decide, dry_run=dry_run)
    except ApiError as error:
        if not (error.is_not_found and served.strategy.creates_on_update and not call.route.subresource):
            raise
        stored = await _create_instead(context, served, call, sent, dry_run=dry_run)
    return answer(context, call, served, stored.value, 201 if stored.created else 200)


def check_name(metadata: Object, name: str) -> None:
    """Raises ApiError 400 if the body names another object than the URL."""
    if metadata.get("name") not in (None, "", name):
        raise status.bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
        )
    metadata["name"] = name


def settle(served: Served, call: Call, new: Object, old: Object) -> Object:
    """What a client's ``new`` version comes to, given the ``old`` one. Raises ApiError 409."""
    writing.check_same_object(served.resource, new["metadata"], old["metadata"])
    writing.carry_over(new["metadata"], old["metadata"])
    if call.route.subresource:
        served.kind.prepare_subresource(call.route.subresource, new, old)
        return new
    served.kind.default(new)
    served.kind.prepare_update(new, old)
    return new


def _check_version_given(served: Served, metadata: Object) -> None:
    """Raises ApiError 422 for an update without resourceVersion, where the kind does not allow that."""
    if metadata.get("resourceVersion") in (None, "", "0") and not served.strategy.updates_unconditionally:
        cause = fields.invalid("metadata.resourceVersion", "", "must be specified for an update")
        raise status.invalid(served.resource.kind, metadata["name"], [cause], group=served.resource.group)


async def _create_instead(context: Context, served: Served, call: Call, sent: Object, *, dry_run: bool) -> Stored:
    check_may_create(context, call)
    sent["metadata"].pop("resourceVersion", None)
    writing.begin(sent["metadata"], now=context.clock.time())
    return await insert(context, served, call, sent, dry_run=dry_run)
