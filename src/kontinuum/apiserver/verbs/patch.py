"""PATCH of one object, or of its status: JSON patch, merge patch, strategic merge patch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from aiohttp.web_response import StreamResponse

from kontinuum.api.kubernetes.schema import definition_of
from kontinuum.api.kubernetes.strategic import strategic_merge
from kontinuum.api.machinery import fields, patches, status
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver import options, writing
from kontinuum.apiserver.body import check_shape, media_type, read_bytes
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.ownership import check_manager
from kontinuum.apiserver.presenting import answer
from kontinuum.apiserver.storing import change
from kontinuum.apiserver.verbs.apply import APPLY_PATCH
from kontinuum.apiserver.verbs.apply import apply as server_side_apply
from kontinuum.apiserver.verbs.update import check_name, settle

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
PATCHES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH)

Patch = Callable[[Object], Object]
"""From the object as it is (not changed) to the patched one. Raises ApiError 400 or 422."""


async def patch(context: Context, served: Served, call: Call) -> StreamResponse:
    """Change an object as the body says. A patch that names no resourceVersion is merged again after a conflict.

    Raises ApiError 400, 403, 404, 409, 413, 415, 422.
    """
    if media_type(call.request) == APPLY_PATCH:
        return await server_side_apply(context, served, call)
    dry_run = options.dry_run(call)
    check_options(call)
    resource = served.resource
    apply = await read_patch(context, call, resource.api_version, resource.kind)

    def decide(old: Object) -> Object:
        new = apply(old)
        call.warnings.clear()
        writing.check_kind(served.resource, new)
        check_shape(served, call, new)
        metadata = writing.metadata_of(new)
        writing.check_namespace(served.resource, metadata, call.route.namespace)
        check_name(metadata, call.route.name)
        return settle(served, call, new, old)

    stored = await change(context, served, call, decide, dry_run=dry_run)
    return answer(context, call, served, stored.value)


def check_options(call: Call) -> None:
    """Raises ApiError 422."""
    if call.query.get("force"):
        cause = fields.forbidden("force", "may not be specified for non-apply patch")
        raise status.invalid("PatchOptions", "", [cause], group="meta.k8s.io")
    check_manager(call, "PatchOptions")


async def read_patch(context: Context, call: Call, api_version: str, kind: str) -> Patch:
    """The request's patch of an object of ``kind``, ready to be applied. Raises ApiError 400, 413, 415."""
    media = media_type(call.request)
    if media not in PATCHES:
        raise status.unsupported_media_type(PATCHES)
    try:
        body: Any = orjson.loads(await read_bytes(context, call))
    except orjson.JSONDecodeError as error:
        raise status.bad_request(f"error decoding patch: {error}") from error
    if media == JSON_PATCH:
        if not isinstance(body, list):
            raise status.bad_request("error decoding patch: a JSON patch is an array of operations")
        return lambda old: _as_object(patches.json_patch(old, body))
    if not isinstance(body, dict):
        raise status.bad_request("error decoding patch: a merge patch is an object")
    if media == MERGE_PATCH:
        return lambda old: _as_object(patches.merge_patch(old, body))
    definition = definition_of(api_version, kind)
    return lambda old: _as_object(strategic_merge(old, body, definition))


def _as_object(patched: Any) -> Object:
    if not isinstance(patched, dict):
        raise status.bad_request("the patch leaves no object")
    return patched
