"""One request for an extension server: passed on in its user's name, and the answer passed back as it comes.

The request has been authenticated and authorized here; the extension server does both again, asking us. What goes
wrong on the way is told as plain text, as kube-aggregator does (``apiserver/handler_proxy.go``).
"""

from __future__ import annotations

import asyncio

from aiohttp import ClientError, ClientResponse
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse
from yarl import URL

from kontinuum.apiserver import replies
from kontinuum.apiserver.aggregation.extensions import Extension
from kontinuum.apiserver.aggregation.transport import NoTransport, Transport, is_user_header, place_of, user_headers
from kontinuum.apiserver.authn.authenticator import WEBSOCKET_TOKEN
from kontinuum.apiserver.authn.impersonation import PREFIX as IMPERSONATION
from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.context import Context
from kontinuum.apiserver.forwarding import SET_BY_US, Headers, add_origin, body_of, pass_back, passing
from kontinuum.apiserver.services.resolver import Unresolved

OURS_ALONE = frozenset({"authorization", "host", "audit-id", "x-forwarded-for"})
PROTOCOLS = "Sec-WebSocket-Protocol"
UNAVAILABLE = "service unavailable"


class Proxy:
    """See the module."""

    def __init__(self, context: Context, transport: Transport) -> None:
        self._context = context
        self._transport = transport

    async def forward(self, request: BaseRequest, user: User, extension: Extension, audit_id: str) -> StreamResponse:
        """Whatever the extension server answers, or 503 in plain text. Raises TimeoutError if it does not answer."""
        if not extension.is_available:
            return _problem(UNAVAILABLE, 503, audit_id)
        try:
            answer = await self._ask(request, user, extension, audit_id)
        except Unresolved:
            return _problem(UNAVAILABLE, 503, audit_id)
        except NoTransport as error:
            return _problem(str(error), 500, audit_id)
        except ClientError as error:
            return _unreachable(error, audit_id)
        except TimeoutError:
            raise  # It has been reached, and does not answer: the request's own time is over.
        except OSError as error:
            return _unreachable(error, audit_id)
        async with answer:
            return await pass_back(answer, request, audit_id)

    async def _ask(self, request: BaseRequest, user: User, extension: Extension, audit_id: str) -> ClientResponse:
        """The answer's head has come when this returns. Raises TimeoutError and what ``forward`` translates."""
        place = await place_of(self._context, extension)
        tls = self._transport.tls(extension)
        async with asyncio.timeout(self._context.settings.request_timeout_seconds):
            return await self._transport.session().request(
                request.method,
                URL(f"https://{place}{request.raw_path}", encoded=True),
                headers=forwarded_headers(request, user, extension, audit_id),
                data=body_of(request),
                ssl=tls,
                server_hostname=extension.server_name,
                allow_redirects=False,
                skip_auto_headers=SET_BY_US,
            )


def forwarded_headers(request: BaseRequest, user: User, extension: Extension, audit_id: str) -> Headers:
    """The client's, without its credential and whatever else only we may say, and with whose request it is."""
    made = passing(request.headers, is_upgrade="upgrade" in request.headers)
    for name in list(made):
        lower = name.lower()
        if lower in OURS_ALONE or lower.startswith(IMPERSONATION) or is_user_header(lower):
            made.popall(name, None)
    if PROTOCOLS in made:
        offered = [one.strip() for one in made[PROTOCOLS].split(",")]
        made[PROTOCOLS] = ", ".join(one for one in offered if not one.startswith(WEBSOCKET_TOKEN))
    made["Host"] = extension.server_name
    made["Audit-ID"] = audit_id
    add_origin(made, request)
    made.extend(user_headers(user))
    return made


def _unreachable(error: Exception, audit_id: str) -> StreamResponse:
    return _problem(f"error trying to reach service: {error or type(error).__name__}", 503, audit_id)


def _problem(text: str, code: int, audit_id: str) -> StreamResponse:
    made = replies.headers(audit_id, media="text/plain; charset=utf-8")
    made["X-Content-Type-Options"] = "nosniff"
    return replies.small(f"{text}\n".encode(), made, code)
