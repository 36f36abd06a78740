"""What is the same wherever a request is passed on to another HTTP server, and its answer passed back."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import ClientResponse
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse
from multidict import CIMultiDict, CIMultiDictProxy

from kontinuum.apiserver.links import Links
from kontinuum.apiserver.passing import pass_on
from kontinuum.foundation.takeover import Taken, join, take_over, upgraded

HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
     "upgrade", "proxy-connection", "expect"}
)  # fmt: skip
"""Headers that are about one connection (RFC 9110, 7.6.1)."""
SET_BY_US = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""The HTTP client would add these where the request has none."""

Headers = CIMultiDict[str]


def passing(headers: CIMultiDictProxy[str], *, is_upgrade: bool = False) -> Headers:
    """Without what is about one connection; the wish to change protocols is about all of them."""
    listed = {one.strip().lower() for one in headers.get("Connection", "").split(",")}
    made: Headers = CIMultiDict()
    for name, value in headers.items():
        if name.lower() not in HOP_BY_HOP and name.lower() not in listed:
            made.add(name, value)
    if is_upgrade:
        made["Connection"], made["Upgrade"] = "Upgrade", headers["Upgrade"]
    return made


def add_origin(headers: Headers, request: BaseRequest) -> None:
    """Say for whom a request is passed on."""
    if request.remote:
        seen = request.headers.get("X-Forwarded-For")
        headers["X-Forwarded-For"] = f"{seen}, {request.remote}" if seen else request.remote


def body_of(request: BaseRequest) -> AsyncIterator[bytes] | None:
    """What the client sends, as it comes; None if it sends nothing."""
    return _pieces(request) if request.body_exists else None


async def _pieces(request: BaseRequest) -> AsyncIterator[bytes]:
    async for piece in request.content.iter_any():
        yield piece


async def pass_back(
    answer: ClientResponse, request: BaseRequest, audit_id: str, location: str = "", links: Links | None = None
) -> StreamResponse:
    """Whatever the other server has answered: a whole answer, or a connection that now speaks something else.

    ``location`` replaces the header of that name; the body goes through ``links``.
    """
    if answer.status == 101:
        try:
            await join(take_over(request, answer.headers.items()), upgraded(answer))
        finally:
            # Given back, it would be looked at as a connection that speaks HTTP.
            answer.close()
        return Taken()
    headers = passing(answer.headers)
    headers["Audit-Id"] = audit_id
    if location:
        headers["Location"] = location
    has_body = request.method != "HEAD" and answer.status not in (204, 304)
    if has_body and links is not None:
        headers.popall("Content-Length", None)
    response = StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
    if has_body and "Content-Length" not in headers:
        response.enable_chunked_encoding()
    await response.prepare(request)
    await pass_on(answer, response, request, links)
    return response
