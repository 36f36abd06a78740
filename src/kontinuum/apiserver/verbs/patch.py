"""PATCH of one object, or of its status: JSON patch, merge patch, strategic merge patch."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import orjson
from aiohttp.web_response import StreamResponse

from kontinuum.api.kubernetes.schema import Definition, definition_of, is_known
from kontinuum.api.kubernetes.strategic import strategic_merge
from kontinuum.api.machinery import codecs, fields, patches, status
from kontinuum.api.machinery.merging import go_text
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver import options, writing
from kontinuum.apiserver.body import check_patched, media_type, read_bytes
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
"""From the object as it is, which it may change, to the patched one. Raises ApiError 400, 413 or 422."""


async def patch(context: Context, served: Served, call: Call) -> StreamResponse:
    """Change an object as the body says. A patch that names no resourceVersion is merged again after a conflict.

    Raises ApiError 400, 403, 404, 409, 413, 415, 422.
    """
    if media_type(call.request) == APPLY_PATCH:
        return await server_side_apply(context, served, call)
    dry_run = options.dry_run(call)
    check_options(call)
    definition = served.kind.definition if is_known(served.resource.api_version, served.resource.kind) else None
    body = await read_patch_body(context, call, is_strategic=definition is not None)
    twice = body.duplicates(call)
    parts = body.parts
    warned = len(call.warnings)

    def merge(obj: Object, old: Object) -> Object:
        new = body.patch(definition)(obj)
        del call.warnings[warned:]
        writing.check_kind(served.resource, new)
        check_patched(served, call, new, shown=body.shown, duplicates=twice, parts=parts)
        metadata = writing.metadata_of(new)
        writing.check_namespace(served.resource, metadata, call.route.namespace)
        check_name(metadata, call.route.name)
        return settle(served, call, new, old)

    stored = await change(context, served, call, merge=merge, parts=parts, dry_run=dry_run)
    return answer(context, call, served, stored.value)


def check_options(call: Call) -> None:
    """Raises ApiError 422."""
    if call.query.get("force"):
        cause = fields.forbidden("force", "may not be specified for non-apply patch")
        raise status.invalid("PatchOptions", "", [cause], group="meta.k8s.io")
    check_manager(call, "PatchOptions")


class PatchBody:
    """A patch as it came. After each merge it is decoded again: what it was merged into has taken parts of it."""

    def __init__(self, media: str, raw: bytes) -> None:
        self.media = media
        self.raw = raw

    def decode(self) -> Any:
        """Raises ApiError 400."""
        try:
            found = orjson.loads(self.raw)
        except orjson.JSONDecodeError as error:
            raise status.bad_request(f"error decoding patch: {error}") from error
        if self.media == JSON_PATCH and not isinstance(found, list):
            raise status.bad_request("error decoding patch: a JSON patch is an array of operations")
        if self.media != JSON_PATCH and not isinstance(found, dict):
            raise status.bad_request("error decoding patch: a merge patch is an object")
        return found

    @cached_property
    def document(self) -> Any:
        """Decoded, to be looked at. Raises ApiError 400."""
        return self.decode()

    @property
    def parts(self) -> frozenset[str] | None:
        """The fields of the object that it may write; None if that is not easily told. Raises ApiError 400."""
        if self.media == JSON_PATCH:
            return None
        found = frozenset(self.document)
        return None if any(name.startswith("$") for name in found) else found

    def duplicates(self, call: Call) -> list[str]:
        """The fields that it names twice, where anybody wants to know. Raises ApiError 400, 422."""
        document = self.document
        if options.field_validation(call) == "Ignore":
            return []
        return codecs.duplicate_fields_of(self.raw, document)

    def patch(self, definition: Definition | None) -> Patch:
        """``definition`` is that of the patched kind, which strategic merges need."""
        body = self.document
        del self.document
        if self.media == JSON_PATCH:
            return lambda obj: _as_object(patches.json_patch(obj, body))
        if self.media == MERGE_PATCH or definition is None:
            return lambda obj: _as_object(patches.merge_into(obj, body))
        return lambda obj: _as_object(strategic_merge(obj, body, definition))

    def shown(self, patched: Object) -> str:
        """What an error about the result shows of it: a strategic patch itself, else the patched object."""
        return go_text(self.decode()) if self.media == STRATEGIC_PATCH else orjson.dumps(patched).decode()


async def read_patch_body(context: Context, call: Call, *, is_strategic: bool = True) -> PatchBody:
    """``is_strategic``: the kind can be merged so. Raises ApiError 413, 415."""
    media = media_type(call.request)
    accepted = [one for one in PATCHES if is_strategic or one != STRATEGIC_PATCH]
    if media not in accepted:
        raise status.unsupported_media_type([*accepted, APPLY_PATCH])
    return PatchBody(media, await read_bytes(context, call))


async def read_patch(context: Context, call: Call, api_version: str, kind: str) -> Patch:
    """The request's patch of an object of a built-in kind. Raises ApiError 400, 413, 415."""
    body = await read_patch_body(context, call)
    definition = definition_of(api_version, kind)
    body.decode()
    return lambda old: body.patch(definition)(old)


def _as_object(patched: Any) -> Object:
    if not isinstance(patched, dict):
        raise status.bad_request("the patch leaves no object")
    return patched
