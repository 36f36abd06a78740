"""One HTTP request from its first line to its last byte: who, what, may they, do it; and every error as a Status."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import orjson
import structlog
from aiohttp.web_response import StreamResponse
from msgspec.structs import replace

from kontinuum.api.machinery import status
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver import metrics, replies
from kontinuum.apiserver.aggregation.aggregation import Aggregation
from kontinuum.apiserver.aggregation.extensions import Extension
from kontinuum.apiserver.audit.audit import Audit
from kontinuum.apiserver.audit.record import Record
from kontinuum.apiserver.authn.authenticator import Authenticator
from kontinuum.apiserver.authn.impersonation import impersonated
from kontinuum.apiserver.authn.serviceaccounts import discovery
from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.authz.authorizer import Attributes
from kontinuum.apiserver.authz.refusal import refused
from kontinuum.apiserver.authz.requests import attributes_of
from kontinuum.apiserver.call import FALSE, Call, split_target
from kontinuum.apiserver.connections import allow_pauses, break_off, has_begun
from kontinuum.apiserver.context import Context
from kontinuum.apiserver.deadlines import Deadlines
from kontinuum.apiserver.dispatch import has_table, verb_of
from kontinuum.apiserver.documents import Documents
from kontinuum.apiserver.fairness import report
from kontinuum.apiserver.fairness.fairness import Fairness, Flow
from kontinuum.apiserver.fairness.level import Seat
from kontinuum.apiserver.fairness.width import WIDE, width_of
from kontinuum.apiserver.health import ENDPOINTS, Health
from kontinuum.apiserver.identifiers import new_uuid
from kontinuum.apiserver.negotiation import negotiate
from kontinuum.apiserver.options import request_seconds
from kontinuum.apiserver.request import Request
from kontinuum.apiserver.routes import OPTIONS, Route, RouteTable
from kontinuum.store.port import StoreFull, StoreUnavailable, ValueTooLarge

log = structlog.get_logger(__name__)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", OPTIONS)
LONG_RUNNING = frozenset({"watch"})
STREAMS = frozenset({"log", "exec", "attach", "portforward", "proxy"})
TOO_LATE = "request did not complete within requested timeout - context deadline exceeded"
LATE = ("/apis", "/openapi")
"""Paths whose answer depends on which custom resources there are; they may have been defined a moment ago."""
UNKNOWN = User("")
"""Whose credential is not good."""
Settled = Callable[[], Awaitable[None]]
"""Returns when all that has been defined is served."""


class _Question(NamedTuple):
    """What a request asks, read in every way that somebody needs."""

    path: str
    query: dict[str, str]
    extension: Extension | None
    """Who is to answer in place of this server."""
    route: Route | None
    asked: Attributes


class Handler:
    """Called by the HTTP server for every request; never raises but for cancellation."""

    def __init__(
        self,
        context: Context,
        routes: RouteTable,
        *,
        authenticate: Authenticator,
        aggregation: Aggregation,
        documents: Documents,
        health: Health,
        settled: Settled,
        requests: metrics.RequestMetrics,
        fairness: Fairness,
        audit: Audit | None,
    ) -> None:
        self._context = context
        self._routes = routes
        self._authenticate = authenticate
        self._aggregation = aggregation
        self._documents = documents
        self._health = health
        self._settled = settled
        self._requests = requests
        self._fairness = fairness
        self._audit = audit
        self._deadlines = Deadlines()

    async def __call__(self, request: Request) -> StreamResponse:
        request.audit_id = request.headers.get("Audit-ID") or new_uuid()
        self._requests.in_flight += 1
        try:
            response = await self._answer(request)
        except Exception as error:
            response = _refuse(request, _translated(request, error))
        finally:
            self._requests.in_flight -= 1
        if request.record is not None:
            await request.record.complete(response)
        return response

    async def _answer(self, request: Request) -> StreamResponse:
        path, query = split_target(request.raw_path)
        if not path.startswith("/"):
            raise status.no_such_path()
        if request.method not in METHODS:
            raise _not_allowed(request.method)
        author = await self._author(request, path, query)
        extension = self._aggregation.find(path)
        route = self._routes.find(path) if extension is None else None
        asked = attributes_of(author, request.method, path, query, route)
        if self._audit is not None:
            await self._begin_record(self._audit, request, asked)
        user = impersonated(author, request.headers, self._context.authorizer)
        if user is not None:
            asked = replace(asked, user=user)
            if request.record is not None:
                request.record.impersonated = user
        question = _Question(path, query, extension, route, asked)
        flow = self._fairness.flow_of(asked)
        request.flow = flow.uids
        if asked.subresource in STREAMS:
            # Somebody sits before it for as long as he likes; that is not the server's work.
            return await self._answer_admitted(request, question, None)
        width = self._width(question, flow)
        seat = self._fairness.try_enter(flow, width) or await self._fairness.enter(flow, asked, width)
        try:
            return await self._answer_admitted(request, question, seat)
        finally:
            seat.leave()

    def _width(self, question: _Question, flow: Flow) -> int:
        asked, route = question.asked, question.route
        if asked.verb not in WIDE or route is None or (served := self._context.served.get(route.resource)) is None:
            return 1
        return width_of(asked, served, question.query, flow.level.widest)

    async def _author(self, request: Request, path: str, query: Mapping[str, str]) -> User:
        """Raises ApiError 401."""
        try:
            return await self._authenticate(request, path)
        except ApiError:
            if self._audit is not None:
                asked = attributes_of(UNKNOWN, request.method, path, query, self._routes.find(path))
                record = self._audit.begin(request, asked)
                if record is not None:
                    record.is_nobodys = True
                    _remark(request, record)
            raise

    async def _begin_record(self, audit: Audit, request: Request, asked: Attributes) -> None:
        record = audit.begin(request, asked)
        if record is not None:
            _remark(request, record)
            record.is_long_running = asked.verb in LONG_RUNNING or asked.subresource in STREAMS
            await record.received()

    async def _answer_admitted(self, request: Request, question: _Question, seat: Seat | None) -> StreamResponse:
        path, query, extension, route, asked = question
        self._authorize(request, asked)
        if extension is not None:
            if seat is not None and (asked.verb == "watch" or "upgrade" in request.headers):
                # Another server's work, for as long as somebody likes.
                seat.leave()
            response = await self._aggregation.forward(request, asked.user, extension, request.audit_id)
            # Under the APIService's name: what lies below it is for another server to say.
            self._requests.count(asked.verb, extension.name, "", response.status)
            return response
        if route is None and path.startswith(LATE):
            await self._settled()
            route = self._routes.find(path)
            asked = attributes_of(asked.user, request.method, path, query, route)
            self._authorize(request, asked)
        if route is None:
            return await self._answer_other(request, path, query)
        verb = route.verb(request.method, watch=query.get("watch", "") not in FALSE)
        output = negotiate(request.headers.get("Accept", ""), tables=has_table(route))
        call = Call(request, path, query, request.audit_id, asked.user, route, verb, output, seat)
        if request.record is not None:
            call.annotations = request.record.annotations
        if request.remarks is not None:
            call.warnings.extend(request.remarks.warnings)
        served = self._context.served[route.resource]
        if served.kind.deprecation:
            call.warnings.append(served.kind.deprecation)
        return await self._answer_measured(call)

    def _authorize(self, request: Request, attributes: Attributes) -> None:
        """Raises ApiError 403."""
        decision = self._context.authorizer.decide(attributes)
        if request.record is not None:
            request.record.decided(decision)
        if not decision.allowed:
            raise refused(attributes, decision.reason)

    async def _answer_measured(self, call: Call) -> StreamResponse:
        context, resource = self._context, call.route.resource
        code = 500
        is_long_running = _is_long_running(call)
        began = time.perf_counter()
        try:
            function = verb_of(call)
            served = context.served[resource]
            if is_long_running:
                if call.route.subresource in STREAMS:
                    allow_pauses(call.request)
                response = await function(context, served, call)
            else:
                with self._deadlines.within(request_seconds(call.query, context.settings.request_timeout_seconds)):
                    response = await function(context, served, call)
            code = response.status
            return response
        except ApiError as error:
            code = error.code
            if not call.warnings or has_begun(call.request):
                raise
            # What was warned of on the way is told with the refusal.
            return replies.of_error(error, call.audit_id, call.warnings)
        finally:
            self._requests.count(call.verb, resource.qualified, call.route.subresource, code)
            if not is_long_running:
                self._requests.observe(call.verb, resource.qualified, time.perf_counter() - began)

    async def _answer_other(self, request: Request, path: str, query: Mapping[str, str]) -> StreamResponse:
        """Paths that are no resource's."""
        if request.method == OPTIONS:
            raise _not_allowed(request.method)
        if path.split("/", 2)[1] in ENDPOINTS:
            return await self._health.answer(path, query)
        if path == "/metrics":
            body, media = metrics.render(self._context, self._requests, self._fairness, self._audit)
            return replies.small(body, replies.headers(request.audit_id, media=media))
        if path.startswith(report.PREFIX):
            text = report.dump(self._fairness, path, query)
            if text is None:
                raise status.no_such_path()
            return replies.small(text.encode(), replies.headers(request.audit_id, media="text/plain"))
        if path in discovery.PATHS:
            settings = self._context.settings
            issuer = self._context.identity.issuer
            return discovery.answer(issuer, settings.service_account_jwks_uri, request, path, request.audit_id)
        return await self._documents.answer(request, path, query, request.audit_id)


def _not_allowed(method: str) -> ApiError:
    return ApiError(405, "MethodNotAllowed", f"the server does not allow the method {method}")


def _remark(request: Request, record: Record) -> None:
    if request.remarks is not None:
        record.annotations |= request.remarks.annotations


def _refuse(request: Request, error: ApiError) -> StreamResponse:
    if has_begun(request):
        # What is returned goes nowhere.
        break_off(request)
    return replies.of_error(error, request.audit_id, request.remarks.warnings if request.remarks is not None else ())


def _translated(request: Request, error: Exception) -> ApiError:
    """What a client is told of an error."""
    match error:
        case ApiError():
            return error
        case StoreFull():
            return status.insufficient_storage(f"{error}; reads go on meanwhile")
        case ValueTooLarge():
            return status.too_large(str(error))
        case StoreUnavailable():
            return status.service_unavailable(str(error))
        case TimeoutError():
            return status.timeout(TOO_LATE)
        case ConnectionError():
            # The client left while it was being answered; what is returned goes nowhere.
            return status.bad_request("the client closed the connection")
        case RecursionError() | orjson.JSONEncodeError():
            # Valid JSON, but nested deeper or with larger numbers than any object may have.
            return status.bad_request(f"the object cannot be stored: {error}")
    if request.record is not None:
        request.record.has_panicked = True
    audit_id = request.audit_id
    log.error(
        "a request failed unexpectedly", method=request.method, path=request.path, audit_id=audit_id, exc_info=error
    )
    return status.internal_error(f"see the server's log for audit id {audit_id}")


def _is_long_running(call: Call) -> bool:
    """These end when somebody leaves, not after a while."""
    return call.verb in LONG_RUNNING or call.route.subresource in STREAMS
