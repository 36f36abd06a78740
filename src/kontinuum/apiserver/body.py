"""Request bodies: read within the limit, decode by media type, hold against the kind's structure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from aiohttp.web_request import BaseRequest

from kontinuum.api.kubernetes.schema import Definition, is_known
from kontinuum.api.kubernetes.structure import (
    Mismatch,
    conform_to,
    field_problems,
    field_problems_in_order,
    strict_error,
)
from kontinuum.api.machinery import codecs, fields, status
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.patches import copy
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver import options, writing
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.request import record_of


async def read_bytes(context: Context, call: Call) -> bytes:
    """Raises ApiError 413 as soon as the body is longer than it may be."""
    limit = context.settings.maximum_body_bytes
    request = call.request
    if (request.content_length or 0) > limit:
        raise status.too_large(f"limit is {limit}")
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        # The client waits for leave to send (RFC 9110, 10.1.1), as curl does with large bodies. Not by way of the
        # writer, which would take it for the beginning of the answer.
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    content = request.content
    if content.is_eof():  # Nearly every body has come together with its headers.
        body = content.read_nowait()
    else:
        parts: list[bytes] = []
        size = 0
        while part := await content.readany():
            parts.append(part)
            size += len(part)
            if size > limit:
                raise status.too_large(f"limit is {limit}")
        body = b"".join(parts)
    if len(body) > limit:
        raise status.too_large(f"limit is {limit}")
    record = record_of(request)
    if record is not None and body:
        record.note_body(body, media_type(request))
    return body


def media_type(request: BaseRequest) -> str:
    """The body's media type without parameters; JSON if the client names none (the Python client does not)."""
    return request.headers.get("Content-Type", "application/json").partition(";")[0].strip().lower()


async def read_document(context: Context, call: Call) -> Object | None:
    """The decoded body, None if there is none. Raises ApiError 400, 413, 415."""
    body = await read_bytes(context, call)
    if not body:
        return None
    return codecs.decode(body, media_type(call.request))


async def read_object(context: Context, served: Served, call: Call) -> Object:
    """The body as an object of the served kind. Raises ApiError 400, 413, 415, 422."""
    body = await read_bytes(context, call)
    if not body:
        raise status.bad_request(f"the body is empty; expected a {served.resource.kind}")
    obj = codecs.decode(body, media_type(call.request))
    problems = _problems(served, call, body, obj)
    writing.check_kind(served.resource, obj)
    check_shape(served, call, obj, problems=problems)
    return obj


Problems = Callable[[Sequence[str]], list[str]]
"""From the unknown fields of a body to texts about all that is wrong with it."""


def _problems(served: Served, call: Call, body: bytes, obj: Object) -> Problems:
    """With what the body says twice, where anybody wants to know."""
    media = media_type(call.request)
    if options.field_validation(call) == "Ignore" or media == codecs.PROTOBUF:
        return _unknown_only
    if media == codecs.YAML:
        twice = codecs.decode_configuration(body, strictly=True)[1]
        return lambda unknown: [*([twice] if twice else ()), *_unknown_only(unknown)]
    if not (duplicates := codecs.duplicate_fields_of(body, obj)):
        return _unknown_only
    if is_known(served.resource.api_version, served.resource.kind):
        return lambda unknown: field_problems_in_order(unknown, duplicates, codecs.field_places(body))
    return lambda unknown: field_problems(unknown, duplicates)


def _unknown_only(unknown: Sequence[str]) -> list[str]:
    return field_problems(unknown, ())


async def read_as(context: Context, call: Call, shape: Definition) -> Object | None:
    """The body as another kind of document (a Binding, DeleteOptions ...), None if there is none.

    Raises ApiError 400, 413, 415.
    """
    document = await read_document(context, call)
    if document is None:
        return None
    conform_document(document, shape)
    return document


def conform_document(document: Object, shape: Definition) -> None:
    """Hold a document against the definition of its kind. Raises ApiError 400."""
    expected = shape.short_name
    if document.get("kind") not in (None, "", expected):
        raise status.bad_request(f"expected a {expected} in the body, got a {document['kind']}")
    try:
        conform_to(document, shape)
    except Mismatch as mismatch:
        raise status.bad_request(f"{expected} cannot be handled: {mismatch}") from mismatch


def check_shape(served: Served, call: Call, obj: Object, *, problems: Problems = _unknown_only) -> None:
    """Refuse wrong types, and treat what ``problems`` says as ``fieldValidation`` does; no unknown field is kept.

    Raises ApiError 400, or 422 for an unknown ``fieldValidation``.
    """
    mode = options.field_validation(call)
    kind, version = served.resource.kind, served.resource.api_version
    texts = problems(served.kind.conform(obj))
    if texts and mode == "Strict":
        raise strict_error(kind, version, texts)
    if mode == "Warn":
        call.warnings.extend(texts)


def check_patched(
    served: Served,
    call: Call,
    obj: Object,
    *,
    shown: Callable[[Object], str],
    duplicates: Sequence[str] = (),
    parts: Collection[str] | None = None,
) -> None:
    """As ``check_shape`` for what a patch has made; ``shown`` is what the error shows of it. Raises ApiError 422.

    ``parts`` are the fields that the patch has written, None if that may be any.
    """
    mode = options.field_validation(call)
    patched = copy(obj) if mode == "Strict" else obj
    try:
        unknown = served.kind.conform(obj) if parts is None else served.kind.conform_parts(obj, parts)
        problems = field_problems(unknown, duplicates)
    except ApiError as error:
        _, _, problem = error.message.partition(f"cannot be handled as a {served.resource.kind}: ")
        raise _bad_patch(shown(patched), problem or error.message) from None
    if problems and mode == "Strict":
        raise _bad_patch(shown(patched), f"strict decoding error: {', '.join(problems)}")
    if mode == "Warn":
        call.warnings.extend(problems)


def _bad_patch(shown: str, problem: str) -> ApiError:
    return status.invalid("", "", [fields.invalid("patch", shown, problem)])
