"""Stored bytes in the form a client accepts: the objects, their metadata only, or a Table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import orjson
from aiohttp.web_response import StreamResponse

from kontinuum.api.machinery import status
from kontinuum.apiserver import replies, versions
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.negotiation import list_expected, list_unexpected
from kontinuum.apiserver.reading import Slice
from kontinuum.apiserver.tables import Printer, check_include, partial

Form = Callable[[bytes], bytes]
"""From an object's bytes to those of what the client wants to see of it."""


def answer(context: Context, call: Call, served: Served, value: bytes, code: int = 200) -> StreamResponse:
    """The reply that carries one object. Raises ApiError 400, 406."""
    if call.output.form == "metadata" and call.output.is_list:
        raise list_expected(served.resource.kind)
    body = form_of(context, call, served)(value)
    if call.output.media != replies.JSON:
        made = replies.headers(call.audit_id, call.warnings, call.output.media)
        return replies.of_object(orjson.loads(body), made, code)
    return _answer_json(call, _pretty(body) if call.is_pretty else body, code)


def answer_success(call: Call, code: int) -> StreamResponse:
    """The reply of who has nothing to show: that it is done."""
    return _answer_json(call, orjson.dumps(status.success()), code)


def _answer_json(call: Call, body: bytes, code: int) -> StreamResponse:
    if not call.warnings and len(body) < replies.GZIP_FROM and replies.is_plain(call.request):
        return replies.Whole(call.request, body, code)
    return replies.packed(call.request, body, replies.headers(call.audit_id, call.warnings), code)


def form_of(context: Context, call: Call, served: Served) -> Form:
    """How one object, and then the next one, is shown. The header of a table comes once. Raises ApiError 400."""
    output = call.output
    match output.form:
        case "metadata":
            return lambda value: partial(value, output.version)
        case "table":
            printer = printer_of(context, call, served)
            told = False

            def show(value: bytes) -> bytes:
                nonlocal told
                shown = printer.of_one(value, headers=not told)
                told = True
                return shown

            return show
        case _:
            return bytes


def printer_of(context: Context, call: Call, served: Served) -> Printer:
    """Raises ApiError 400."""
    include = check_include(call.query.get("includeObject", ""))
    return Printer(served, include, context.clock.time, call.output.version)


async def answer_list(context: Context, call: Call, served: Served, found: Slice) -> StreamResponse:
    """The reply that carries a list. Raises ApiError 400, 406."""
    if call.output.form == "metadata" and not call.output.is_list:
        raise list_unexpected(served.resource.kind)
    made = replies.headers(call.audit_id, call.warnings, call.output.media)
    values = await versions.present(served.converter, [entry.value for entry in found.entries])
    if call.output.form == "objects":
        resource = served.resource
        parts = join_list(resource.list_kind, resource.api_version, list_metadata(found), values)
        size = sum(map(len, parts))
        return await _send(call, parts, made, size)
    return await _send(call, _made_parts(context, call, served, found, values), made)


async def _send(
    call: Call, parts: Sequence[bytes] | Iterator[bytes], made: replies.Headers, size: int = 0
) -> StreamResponse:
    if call.output.media != replies.JSON:
        return replies.of_object(orjson.loads(b"".join(parts)), made)
    if call.is_pretty:
        return replies.packed(call.request, _pretty(b"".join(parts)), made)
    return await replies.large(call.request, parts, made, size)


def _made_parts(context: Context, call: Call, served: Served, found: Slice, values: Sequence[bytes]) -> Iterator[bytes]:
    """The parts of a list that is not simply the stored objects, each made when it is sent."""
    metadata, version = list_metadata(found), call.output.version
    if call.output.form == "table":
        return printer_of(context, call, served).parts(values, metadata)
    return _partials(values, version, metadata)


def list_metadata(found: Slice) -> dict[str, object]:
    metadata: dict[str, object] = {"resourceVersion": str(found.revision)}
    if found.continue_:
        metadata["continue"] = found.continue_
    if found.remaining is not None:
        metadata["remainingItemCount"] = found.remaining
    return metadata


def join_list(kind: str, version: str, metadata: dict[str, object], values: Sequence[bytes]) -> list[bytes]:
    """The parts of a list's JSON, in order; nothing is copied."""
    parts = [_list_head(kind, version, metadata)]
    for value in values:
        parts.append(value)
        parts.append(b",")
    if values:
        parts.pop()
    parts.append(b"]}")
    return parts


def _partials(values: Sequence[bytes], version: str, metadata: dict[str, object]) -> Iterator[bytes]:
    """As ``join_list``, of the objects' metadata."""
    yield _list_head("PartialObjectMetadataList", f"meta.k8s.io/{version}", metadata)
    for position, value in enumerate(values):
        if position:
            yield b","
        yield partial(value, version)
    yield b"]}"


def _list_head(kind: str, version: str, metadata: dict[str, object]) -> bytes:
    head = f'{{"kind":"{kind}","apiVersion":"{version}","metadata":'.encode() + orjson.dumps(metadata)
    return head + b',"items":['


def _pretty(body: bytes) -> bytes:
    return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2) + b"\n"
