"""HTTPS servers as users run them behind webhook configurations: each path answers as a function says.

async with hook_server(directory) as hooks:
    hooks.at("/deny", deny("no"))                      what a path answers
    hooks.client_config("/deny")                       for a webhook's (or a conversion's) clientConfig
    hooks.asked                                        what has been asked, in order
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from tests.apiserver.serving import Api

from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.pki import Authority

Reply = Any
"""JSON to answer, or a whole response."""
Answer = Callable[[Any], Reply | Awaitable[Reply]]
"""From the decoded body to the reply."""
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1"
MUTATING = f"{WEBHOOKS}/mutatingwebhookconfigurations"
VALIDATING = f"{WEBHOOKS}/validatingwebhookconfigurations"
EVERYTHING = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}
CONFIGMAPS_RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}


@dataclass(frozen=True)
class Asked:
    """One request that has come in."""

    path: str
    """With the query."""
    body: Any
    headers: Any

    @property
    def request(self) -> Any:
        """Of an AdmissionReview or ConversionReview."""
        return self.body["request"]


@dataclass
class HookServer:
    """A running server. Paths without an answer answer 404."""

    port: int
    bundle: str
    """Its authority, base64 of PEM, as ``caBundle`` wants it."""
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def at(self, path: str, answer: Answer) -> None:
        self.answers[path] = answer

    def client_config(self, path: str) -> dict[str, Any]:
        return {"url": f"https://127.0.0.1:{self.port}{path}", "caBundle": self.bundle}

    def asked_at(self, path: str) -> list[Asked]:
        return [one for one in self.asked if one.path.partition("?")[0] == path]

    def webhook(self, path: str, *rules: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """A webhook of a configuration, for the creation of ConfigMaps unless ``rules`` say otherwise."""
        return {
            "name": f"{path.strip('/').replace('/', '-')}.example.com",
            "clientConfig": self.client_config(path),
            "rules": list(rules) or [CONFIGMAPS_RULE],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            **fields,
        }

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        self.asked.append(Asked(request.path_qs, body, request.headers.copy()))
        answer = self.answers.get(request.path)
        if answer is None:
            return web.Response(status=404)
        reply = answer(body)
        if isinstance(reply, Awaitable):
            reply = await reply
        if reply is CLOSE:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        return reply if isinstance(reply, web.StreamResponse) else web.json_response(reply)


CLOSE = object()
"""A reply: the connection ends without an answer."""


@contextlib.asynccontextmanager
async def hook_server(directory: Path, *, hosts: tuple[str, ...] = ("127.0.0.1",)) -> AsyncIterator[HookServer]:
    """A server with a certificate for ``hosts`` from an authority of its own, which is made in ``directory``."""
    authority = Authority.ensure(directory, RealClock(), name="hooks")
    pair = authority.ensure_server("hook", common_name="hook", hosts=hosts)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair.certificate, pair.key)
    made = HookServer(0, base64.b64encode(authority.certificate.read_bytes()).decode())
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_post("/{path:.*}", made.handle)
    # A hanging answer is what some tests are about; nobody waits for it at the end.
    runner = web.AppRunner(application, handle_signals=False, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        made.port = runner.addresses[0][1]
        yield made
    finally:
        await runner.cleanup()


def reviewed(review: Any, *, allowed: bool = True, **response: Any) -> Any:
    """The AdmissionReview that answers ``review``, in its version."""
    return {
        "kind": "AdmissionReview",
        "apiVersion": review["apiVersion"],
        "response": {"uid": review["request"]["uid"], "allowed": allowed, **response},
    }


def allow(review: Any) -> Any:
    return reviewed(review)


def deny(message: str = "", **status: Any) -> Answer:
    """Refuses everything; ``status`` are more fields of the Status."""
    found = {**({"message": message} if message else {}), **status}
    return lambda review: reviewed(review, allowed=False, **({"status": found} if found else {}))


def patching(*operations: Any) -> Answer:
    """Allows everything, changed by a JSON patch."""
    return lambda review: patched(review, *operations)


def patched(review: Any, *operations: Any) -> Any:
    return reviewed(review, patchType="JSONPatch", patch=base64.b64encode(orjson.dumps(operations)).decode())


def hanging(seconds: float, then: Answer = allow) -> Answer:
    """Answers as ``then`` does, but late."""

    async def answer(review: Any) -> Any:
        await asyncio.sleep(seconds)
        return then(review)

    return answer


async def configure(api: Api, path: str, name: str, *webhooks: dict[str, Any]) -> None:
    """Create a configuration (``path`` is MUTATING or VALIDATING), and wait until the server follows it."""
    body = {"metadata": {"name": name}, "webhooks": list(webhooks)}
    found = await api.create(path, body)
    assert found.code == 201, found.body
    await settled(api, path, found.version)


async def settled(api: Api, path: str, version: str) -> None:
    """Wait until the server's caches have seen revision ``version``."""
    found = await api.get(f"{path}?resourceVersion={version}&resourceVersionMatch=NotOlderThan")
    assert found.code == 200, found.body
