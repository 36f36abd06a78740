"""Bytes on their way out: headers, warnings, gzip for large ones, and pieces for very large ones."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import TypeGuard

import orjson
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http_writer import HttpVersion11
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse
from multidict import CIMultiDict

from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.request import LEVEL_UID, SCHEMA_UID, Request, record_of

GZIP_FROM = 128 * 1024
"""Smaller replies are not worth the work (Kubernetes' own threshold)."""
PIECE = 32 * 1024
"""Bytes of a large reply, or of a watch, that are made and sent at once. A TLS connection keeps a buffer for the
largest one as long as it lives: a hundred informers held 55 MB with pieces of 128 KB, and 25 MB with these. The
allocator maps and unmaps larger ones each time, which takes as long as all the rest of a list."""
MOST_WARNED, CUT_WARNING = 4096, 256
JSON = "application/json"
PHRASES = {one.value: one.phrase for one in HTTPStatus}
Headers = CIMultiDict[str]


def headers(audit_id: str, warnings: Sequence[str] = (), media: str = JSON) -> Headers:
    made = CIMultiDict(
        {"Audit-Id": audit_id, "Cache-Control": "no-cache, private", "Content-Type": media},
    )
    if warnings:
        for text in _shown(warnings):
            # RFC 7234 5.5: the text is a quoted string; 299 is "miscellaneous persistent warning".
            quoted = text.replace("\\", "\\\\").replace('"', '\\"')
            made.add("Warning", f'299 - "{quoted}"')
    return made


def _shown(warnings: Sequence[str]) -> Iterator[str]:
    """Each once, on one line, and no more than fits a client's limit for headers: webhooks write warnings too.

    If all together are longer than 4,096 characters, each is cut at 256 (apiserver's ``WithWarningRecorder``).
    """
    texts = list(dict.fromkeys(one for one in warnings if one))
    is_cut = sum(map(len, texts)) > MOST_WARNED
    left = MOST_WARNED
    for text in texts:
        plain = "".join(letter if letter.isprintable() else " " for letter in (text[:CUT_WARNING] if is_cut else text))
        left -= len(plain)
        if left < 0:
            return
        yield plain


def small(body: bytes, made: Headers, code: int = 200) -> Response:
    """A reply that fits one write."""
    return Response(body=body, status=code, headers=made)


class Whole(StreamResponse):
    """One object's JSON, head and body in one piece.

    Nearly every answer is one of these, and aiohttp's way from a dictionary of headers to the same bytes takes a fifth
    of a read. It is for ``is_plain`` requests only; every other answer goes that way.
    """

    def __init__(self, request: Request, body: bytes, code: int) -> None:
        super().__init__(status=code)
        schema, level = request.flow or ("", "")
        self._piece = (
            f"HTTP/1.1 {code} {PHRASES[code]}\r\n"
            f"Audit-Id: {request.audit_id}\r\nCache-Control: no-cache, private\r\nContent-Type: {JSON}\r\n"
            f"{SCHEMA_UID}: {schema}\r\n{LEVEL_UID}: {level}\r\n"
            f"Date: {rfc822_formatted_time()}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    async def prepare(self, request: BaseRequest) -> None:
        """There is nothing to be told before the end."""
        self._keep_alive = True
        self._req = request

    async def write_eof(self, data: bytes = b"") -> None:
        assert self._req is not None
        transport = self._req.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        self._eof_sent = True
        transport.write(self._piece)


def is_plain(request: BaseRequest) -> TypeGuard[Request]:
    """Whether ``Whole`` can answer: HTTP/1.1, the connection stays, nobody audits, and no header needs a closer look.

    The audit id is the one text of the head that may be the client's.
    """
    return (
        isinstance(request, Request)
        and request.record is None
        and request.flow is not None
        and request.method != "HEAD"
        and request.version == HttpVersion11
        and request.keep_alive
        and request.audit_id.isascii()
        and request.audit_id.isprintable()
    )


def packed(request: BaseRequest, body: bytes, made: Headers, code: int = 200) -> Response:
    """As ``small``, compressed if that is worth it and the client takes it."""
    if len(body) >= GZIP_FROM and _accepts_gzip(request):
        record = record_of(request)
        if record is not None and record.wants_answer:
            record.note_answer(body)
        packer = _packer()
        body = packer.compress(body) + packer.flush()
        _tell_gzip(made)
    return small(body, made, code)


def of_object(obj: Object, made: Headers, code: int = 200) -> Response:
    if made["Content-Type"] == "application/yaml":
        import yaml  # rarely asked for, and slow to import

        return small(yaml.safe_dump(obj, sort_keys=False).encode(), made, code)
    return small(orjson.dumps(obj), made, code)


def of_error(error: ApiError, audit_id: str, warnings: Sequence[str] = ()) -> Response:
    made = headers(audit_id, warnings)
    if error.retry_after_seconds:
        made["Retry-After"] = str(error.retry_after_seconds)
    return small(orjson.dumps(error.to_status()), made, error.code)


async def large(request: BaseRequest, parts: Iterable[bytes], made: Headers, size: int = 0) -> StreamResponse:
    """A reply of many parts, joined in pieces, so that a big list never exists twice, or at all if made on the way.

    ``size`` in bytes, if it is known before the parts are made.
    """
    # What is packed becomes smaller, and each piece costs a hop to a thread.
    pieces = in_pieces(parts, GZIP_FROM if _accepts_gzip(request) else PIECE)
    first = next(pieces, b"")
    second = next(pieces, b"")
    if not second:
        return packed(request, first, made)
    response = StreamResponse(headers=made)
    if request.method == "HEAD":
        await response.prepare(request)
    elif _accepts_gzip(request):
        await _send_packed(request, response, (first, second), pieces)
    else:
        if size:
            response.content_length = size
        else:
            response.enable_chunked_encoding()
        await response.prepare(request)
        for piece in _after(request, (first, second), pieces):
            await send(request, response, piece)
            # A client that reads fast never makes a write wait, and others want to be served as well.
            await asyncio.sleep(0)
    await response.write_eof()
    return response


async def send(request: BaseRequest, response: StreamResponse, piece: bytes) -> None:
    """A piece of an answer; returns when the client can take the next one.

    The response itself waits after each 64 KB only, however much is waiting already.
    """
    await response.write(piece)
    await request.writer.drain()


async def _send_packed(
    request: BaseRequest, response: StreamResponse, first: Sequence[bytes], rest: Iterator[bytes]
) -> None:
    _tell_gzip(response.headers)
    await response.prepare(request)
    packer = _packer()
    for piece in _after(request, first, rest):
        # zlib lets other threads run while it works, so the event loop stays free.
        await response.write(await asyncio.to_thread(packer.compress, piece))
    await response.write(packer.flush())


def _after(request: BaseRequest, first: Sequence[bytes], rest: Iterator[bytes]) -> Iterator[bytes]:
    """All pieces; also for the audit log, if it wants to have them."""
    record = record_of(request)
    if record is None or not record.wants_answer:
        yield from first
        yield from rest
        return
    for piece in (*first, *rest):
        record.note_answer(piece)
        yield piece


def _accepts_gzip(request: BaseRequest) -> bool:
    return "gzip" in request.headers.get("Accept-Encoding", "")


def _tell_gzip(made: Headers) -> None:
    made["Content-Encoding"] = "gzip"
    made.add("Vary", "Accept-Encoding")


def _packer() -> zlib._Compress:
    return zlib.compressobj(1, zlib.DEFLATED, 31)


def in_pieces(parts: Iterable[bytes], least: int = PIECE) -> Iterator[bytes]:
    """``parts`` joined, at least so many bytes at a time."""
    waiting: list[bytes] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= least:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)
