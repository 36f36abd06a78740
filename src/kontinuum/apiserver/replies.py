"""Bytes on their way out: headers, warnings, gzip for large ones, and pieces for very large ones."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator, Sequence

import orjson
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse
from multidict import CIMultiDict

from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import ApiError

GZIP_FROM = 128 * 1024
"""Smaller replies are not worth the work (Kubernetes' own threshold)."""
PIECE = 512 * 1024
JSON = "application/json"
Headers = CIMultiDict[str]


def headers(audit_id: str, warnings: Sequence[str] = (), media: str = JSON) -> Headers:
    made = CIMultiDict(
        {"Audit-Id": audit_id, "Cache-Control": "no-cache, private", "Content-Type": media},
    )
    for warning in warnings:
        # RFC 7234 5.5: the text is a quoted string; 299 is "miscellaneous persistent warning".
        text = warning.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
        made.add("Warning", f'299 - "{text}"')
    return made


def small(body: bytes, made: Headers, code: int = 200) -> Response:
    """A reply that fits one write."""
    return Response(body=body, status=code, headers=made)


def of_object(obj: Object, made: Headers, code: int = 200) -> Response:
    if made["Content-Type"] == "application/yaml":
        import yaml  # rarely asked for, and slow to import

        return small(yaml.safe_dump(obj, sort_keys=False).encode(), made, code)
    return small(orjson.dumps(obj), made, code)


def of_error(error: ApiError, audit_id: str) -> Response:
    made = headers(audit_id)
    if error.retry_after_seconds:
        made["Retry-After"] = str(error.retry_after_seconds)
    return small(orjson.dumps(error.to_status()), made, error.code)


async def large(request: BaseRequest, parts: Sequence[bytes], made: Headers) -> StreamResponse:
    """A reply of many parts, which are joined in pieces so that a big list never exists twice."""
    size = sum(map(len, parts))
    if size < GZIP_FROM:
        return small(b"".join(parts), made)
    response = StreamResponse(headers=made)
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        response.headers["Content-Encoding"] = "gzip"
        await response.prepare(request)
        # zlib lets other threads run while it works, so the event loop stays free.
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        for piece in _pieces(parts):
            await response.write(await asyncio.to_thread(packer.compress, piece))
        await response.write(packer.flush())
    else:
        response.content_length = size
        await response.prepare(request)
        for piece in _pieces(parts):
            await response.write(piece)
    await response.write_eof()
    return response


def _pieces(parts: Sequence[bytes]) -> Iterator[bytes]:
    waiting: list[bytes] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= PIECE:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)
