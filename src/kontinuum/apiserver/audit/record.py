"""What is known about one request for the audit log, and the events that are made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp.web_response import Response, StreamResponse

from kontinuum.api.machinery import codecs
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.audit.log import Line, Log
from kontinuum.apiserver.audit.policy import API_VERSION, COMPLETE, NAMES, PANIC, RECEIVED, STARTED, Level, Wanted
from kontinuum.apiserver.authn.users import User, to_user_info
from kontinuum.apiserver.authz.authorizer import Attributes, Decision
from kontinuum.apiserver.request import Request
from kontinuum.foundation.clock import Clock, rfc3339_micro

DECISION, REASON = "authorization.k8s.io/decision", "authorization.k8s.io/reason"


class Record:
    """Begun when it is known who asks (``asked.user``, the author); completed when the answer is."""

    def __init__(self, log: Log, clock: Clock, request: Request, asked: Attributes, wanted: Wanted) -> None:
        self._log, self._clock, self._wanted = log, clock, wanted
        self._request, self._asked = request, asked
        self._author = asked.user
        self._received = clock.time()
        self._body: tuple[bytes, str] | None = None
        self._answer: list[bytes] = []
        self.impersonated: User | None = None
        self.annotations: dict[str, str] = {}
        """Admission adds to these."""
        self.is_long_running = False
        self.is_nobodys = False
        """The author's credential was not good."""
        self.has_panicked = False

    async def received(self) -> None:
        await self._emit(RECEIVED)

    async def started(self, response: StreamResponse) -> None:
        """The answer's headers are about to be sent."""
        if self.is_long_running:
            await self._emit(STARTED, response)

    async def complete(self, response: StreamResponse) -> None:
        """The answer is made (a long list: sent)."""
        # Of a failed authentication Kubernetes tells that its answer begins, and no more.
        await self._emit(PANIC if self.has_panicked else STARTED if self.is_nobodys else COMPLETE, response)

    def decided(self, decision: Decision) -> None:
        """What the authorizer has said."""
        self.annotations[DECISION] = "allow" if decision.allowed else "forbid"
        self.annotations[REASON] = decision.reason

    def note_body(self, body: bytes, media: str) -> None:
        self._body = (body, media)

    @property
    def wants_answer(self) -> bool:
        return self._wanted.level >= Level.REQUEST_RESPONSE

    def note_answer(self, part: bytes) -> None:
        """A part of an answer that cannot be read from the response afterwards. Call it if ``wants_answer``."""
        self._answer.append(part)

    async def _emit(self, stage: str, response: StreamResponse | None = None) -> None:
        if stage in self._wanted.omitted_stages:
            return
        await self._log.append(self._line(stage, response))

    def _line(self, stage: str, response: StreamResponse | None) -> Line:
        """What changes is read now, what costs time is done later, in the log's thread."""
        event: Object = {
            "kind": "Event", "apiVersion": API_VERSION, "level": NAMES[self._wanted.level],
            "auditID": self._request.audit_id, "stage": stage, "requestURI": self._request.raw_path,
            "verb": self._asked.verb, "user": to_user_info(self._author),
        }  # fmt: skip
        if self.impersonated is not None:
            event["impersonatedUser"] = to_user_info(self.impersonated)
        event["sourceIPs"] = _addresses(self._request)
        if "User-Agent" in self._request.headers:
            event["userAgent"] = self._request.headers["User-Agent"]
        annotations = dict(self.annotations)
        received, now = rfc3339_micro(self._received), rfc3339_micro(self._clock.time())
        # Nothing has been read when a request has just been received, and nothing sent when an answer begins.
        body = self._body if stage != RECEIVED else None
        code = response.status if response is not None else 0
        answer = self._answer_of(response) if (stage != STARTED or self.is_nobodys) and response else b""

        def line() -> bytes:
            sent = _decoded(*body) if body is not None else None
            if self._asked.is_resource:
                event["objectRef"] = _reference(self._asked, sent)
            returned = _json(answer)
            if code:
                event["responseStatus"] = _response_status(code, returned)
            if self._wanted.level >= Level.REQUEST and sent is not None:
                event["requestObject"] = self._shown(sent)
            if self.wants_answer and returned is not None:
                event["responseObject"] = self._shown(returned)
            event["requestReceivedTimestamp"], event["stageTimestamp"] = received, now
            if annotations:
                event["annotations"] = annotations
            return orjson.dumps(event) + b"\n"

        return line

    def _answer_of(self, response: StreamResponse) -> bytes:
        """The answer as JSON, as far as somebody wants to see it: all of it, or what went wrong."""
        if self._answer:
            return b"".join(self._answer)
        if not (self.wants_answer or response.status >= 400) or not isinstance(response, Response):
            return b""
        body = response.body
        return bytes(body) if isinstance(body, bytes | bytearray) else b""

    def _shown(self, obj: Any) -> Any:
        return without_managed_fields(obj) if self._wanted.omits_managed_fields else obj


def without_managed_fields(obj: Any) -> Any:
    """``obj``, or each of a list's items, without what says who owns which field."""
    if not isinstance(obj, dict):
        return obj
    if isinstance(obj.get("items"), list):
        return {**obj, "items": [without_managed_fields(one) for one in obj["items"]]}
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}


def _addresses(request: Request) -> list[str]:
    """Where the request has come from: what proxies say, then who is connected (apiserver's ``net.SourceIPs``)."""
    forwarded = request.headers.get("X-Forwarded-For", "").split(",")
    told = [one.strip() for one in (*forwarded, request.headers.get("X-Real-Ip", "")) if one.strip()]
    return list(dict.fromkeys([*told, request.remote or ""]))


def _reference(asked: Attributes, sent: Any) -> Object:
    """The object that is meant; a new one says its name only in the body."""
    metadata = sent.get("metadata") if isinstance(sent, dict) else None
    told: Mapping[str, Any] = metadata if isinstance(metadata, dict) else {}
    reference = {
        "resource": asked.resource, "namespace": asked.namespace or told.get("namespace"),
        "name": asked.name or told.get("name"), "uid": told.get("uid"), "apiGroup": asked.group,
        "apiVersion": asked.version, "resourceVersion": told.get("resourceVersion"), "subresource": asked.subresource,
    }  # fmt: skip
    return {key: value for key, value in reference.items() if value}


def _decoded(body: bytes, media: str) -> Any:
    """The body as JSON has it; None if it is nothing of the sort."""
    if media.endswith("+json"):
        return _json(body)
    try:
        return codecs.decode(body, codecs.YAML if media.endswith("yaml") else media)
    except (ApiError, RecursionError):
        return None


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body) if body else None
    except orjson.JSONDecodeError:
        return None


def _response_status(code: int, returned: Any) -> Object:
    if isinstance(returned, dict) and returned.get("kind") == "Status":
        told = {key: returned[key] for key in ("status", "message", "reason", "details") if key in returned}
        return {"metadata": {}, **told, "code": code}
    return {"metadata": {}, "code": code}
