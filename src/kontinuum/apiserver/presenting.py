"""Stored bytes in the form a client accepts: the objects, their metadata only, or a Table."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import orjson
from aiohttp.web_response import Response, StreamResponse

from kontinuum.apiserver import replies, tables, versions
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.negotiation import Output
from kontinuum.apiserver.reading import Slice


class _MetadataOnly(msgspec.Struct):
    """Leaves the metadata's bytes as they are."""

    metadata: msgspec.Raw


_decode_metadata = msgspec.json.Decoder(_MetadataOnly).decode


def partial(value: bytes) -> bytes:
    """A PartialObjectMetadata of an object's bytes."""
    metadata = bytes(_decode_metadata(value).metadata)
    return b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":%b}' % metadata


def one_in_form(context: Context, call: Call, served: Served, value: bytes) -> bytes:
    """One object in the form that the call negotiated."""
    match call.output.form:
        case "metadata":
            return partial(value)
        case "table":
            return orjson.dumps(tables.table(served, [value], include=_include(call), now=context.clock.time()))
        case _:
            return value


def answer(context: Context, call: Call, served: Served, value: bytes, code: int = 200) -> Response:
    """The reply that carries one object."""
    body = one_in_form(context, call, served, value)
    made = replies.headers(call.audit_id, call.warnings, call.output.media)
    if call.output.media != replies.JSON:
        return replies.of_object(orjson.loads(body), made, code)
    return replies.small(body, made, code)


async def answer_list(context: Context, call: Call, served: Served, found: Slice) -> StreamResponse:
    """The reply that carries a list."""
    made = replies.headers(call.audit_id, call.warnings, call.output.media)
    values = await versions.present(served.converter, [entry.value for entry in found.entries])
    parts = _list_parts(context, call, served, found, values)
    if call.output.media != replies.JSON:
        return replies.of_object(orjson.loads(b"".join(parts)), made)
    return await replies.large(call.request, parts, made)


def _list_parts(context: Context, call: Call, served: Served, found: Slice, values: Sequence[bytes]) -> list[bytes]:
    metadata = list_metadata(found)
    match call.output:
        case Output(form="table"):
            table = tables.table(served, values, include=_include(call), now=context.clock.time())
            table["metadata"] = metadata
            return [orjson.dumps(table)]
        case Output(form="metadata"):
            partials = [partial(value) for value in values]
            return join_list("PartialObjectMetadataList", "meta.k8s.io/v1", metadata, partials)
        case _:
            resource = served.resource
            return join_list(f"{resource.kind}List", resource.api_version, metadata, values)


def list_metadata(found: Slice) -> dict[str, object]:
    metadata: dict[str, object] = {"resourceVersion": str(found.revision)}
    if found.continue_:
        metadata["continue"] = found.continue_
    if found.remaining is not None:
        metadata["remainingItemCount"] = found.remaining
    return metadata


def join_list(kind: str, version: str, metadata: dict[str, object], values: Sequence[bytes]) -> list[bytes]:
    """The parts of a list's JSON, in order; nothing is copied."""
    head = f'{{"kind":"{kind}","apiVersion":"{version}","metadata":'.encode() + orjson.dumps(metadata)
    parts = [head + b',"items":[']
    for value in values:
        parts.append(value)
        parts.append(b",")
    if values:
        parts.pop()
    parts.append(b"]}")
    return parts


def _include(call: Call) -> str:
    return call.query.get("includeObject") or "Metadata"
