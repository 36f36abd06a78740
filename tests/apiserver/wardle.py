"""A real extension API server: ``wardle.example.com/v1alpha1``, with flunders, behind TLS on a loopback port.

It trusts whom the ConfigMap ``extension-apiserver-authentication`` names, asks whose a bearer token is (TokenReview)
and whether they may (SubjectAccessReview), and keeps what it is given in memory: as Kubernetes' sample-apiserver.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from aiohttp import WSMsgType, web
from cryptography import x509
from cryptography.x509.oid import NameOID
from tests.apiserver.serving import Api

from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.pki import Authority

GROUP, VERSION = "wardle.example.com", "v1alpha1"
PATH = f"/apis/{GROUP}/{VERSION}"
FLUNDERS = f"{PATH}/namespaces/default/flunders"
API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
API_SERVICE = f"{API_SERVICES}/{VERSION}.{GROUP}"
TRUST = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
VERBS = ["create", "delete", "get", "list", "watch"]
RESOURCES = [
    {"name": "flunders", "singularName": "flunder", "namespaced": True, "kind": "Flunder", "verbs": VERBS,
     "shortNames": ["fl"], "categories": ["all"]},
    {"name": "flunders/status", "singularName": "", "namespaced": True, "kind": "Flunder", "verbs": ["get", "update"]},
]  # fmt: skip
DEFINITION = "com.example.wardle.v1alpha1.Flunder"


def openapi(version: int) -> dict[str, Any]:
    schema = {
        "description": "A fish.",
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": {"type": "object", "description": "What it does."},
        },
        "x-kubernetes-group-version-kind": [{"group": GROUP, "version": VERSION, "kind": "Flunder"}],
    }
    operation = {
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "list",
        "x-kubernetes-group-version-kind": {"group": GROUP, "version": VERSION, "kind": "Flunder"},
    }
    paths = {f"{PATH}/namespaces/{{namespace}}/flunders": {"get": operation}, "/apis/other/v1/": {"get": operation}}
    if version == 2:
        return {"swagger": "2.0", "info": {}, "paths": paths, "definitions": {DEFINITION: schema}}
    return {"openapi": "3.0.0", "info": {}, "paths": paths, "components": {"schemas": {DEFINITION: schema}}}


@dataclass
class Seen:
    """What a request came with."""

    path: str
    user: str
    groups: list[str]
    uid: str
    extra: dict[str, list[str]]
    headers: dict[str, str]


@dataclass
class Wardle:
    """``api`` is its client of the server in front of it."""

    api: Api
    authority: Authority
    port: int = 0
    is_old: bool = False
    """It knows version 2 of OpenAPI only."""
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    fetched: list[tuple[str, int]] = field(default_factory=list)
    _changes: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _trust: dict[str, str] = field(default_factory=dict)

    async def learn_trust(self) -> ssl.SSLContext:
        answer = await self.api.get(TRUST)
        assert answer.code == 200, answer.body
        self._trust = answer.body["data"]
        pair = self.authority.ensure_server("wardle", common_name="wardle", hosts=["wardle.default.svc"])
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pair.certificate, pair.key)
        tls.load_verify_locations(cadata=self._trust["requestheader-client-ca-file"])
        tls.verify_mode = ssl.CERT_OPTIONAL
        return tls

    async def user_of(self, request: web.Request) -> dict[str, Any]:
        """The front proxy's word if it is the front proxy's, else what the API server says about the token."""
        assert request.transport is not None
        connection = request.transport.get_extra_info("ssl_object")
        certificate = connection.getpeercert(True)
        if certificate:
            subject = x509.load_der_x509_certificate(certificate).subject
            name = subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
            allowed = json.loads(self._trust["requestheader-allowed-names"])
            if name in allowed or not allowed:
                extra: dict[str, list[str]] = {}
                for key, value in request.headers.items():
                    if key.lower().startswith("x-remote-extra-"):
                        extra.setdefault(key.lower().removeprefix("x-remote-extra-"), []).append(value)
                return {
                    "user": request.headers["X-Remote-User"],
                    "groups": request.headers.getall("X-Remote-Group", []),
                    "uid": request.headers.get("X-Remote-Uid", ""),
                    "extra": extra,
                }
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        review = await self.api.create("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": token}})
        if not token or not review.body["status"].get("authenticated"):
            raise web.HTTPUnauthorized
        found = review.body["status"]["user"]
        return {"user": found["username"], "groups": found["groups"], "uid": found.get("uid", ""), "extra": {}}

    @web.middleware
    async def check(self, request: web.Request, handler: Any) -> web.StreamResponse:
        user = await self.user_of(request)
        self.seen.append(Seen(request.raw_path, **user, headers=dict(request.headers)))
        parts = request.path.strip("/").split("/")
        if len(parts) > 5:
            verb = {"GET": "get" if len(parts) > 6 else "list", "HEAD": "get", "POST": "create", "DELETE": "delete"}[
                request.method
            ]
            attributes = {"group": GROUP, "version": VERSION, "resource": "flunders", "namespace": parts[4]}
            spec = {"user": user["user"], "groups": user["groups"], "resourceAttributes": {**attributes, "verb": verb}}
            review = await self.api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": spec})
            if not review.body["status"]["allowed"]:
                raise web.HTTPForbidden
        return await handler(request)

    async def discovery(self, request: web.Request) -> web.Response:
        body = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/{VERSION}"}
        return web.json_response({**body, "resources": RESOURCES})

    async def specification(self, request: web.Request) -> web.Response:
        if "v3" in request.path and self.is_old:
            raise web.HTTPNotFound
        content = orjson.dumps(openapi(2 if "v2" in request.path else 3))
        etag = f'"{len(content)}"'
        code = 304 if request.headers.get("If-None-Match") == etag else 200
        self.fetched.append((request.path, code))
        body = content if code == 200 else b""
        return web.Response(status=code, body=body, headers={"ETag": etag, "Content-Type": "application/json"})

    async def list(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") == "true":
            return await self.watch(request)
        kind = {"kind": "FlunderList", "apiVersion": f"{GROUP}/{VERSION}", "metadata": {}}
        return web.json_response({**kind, "items": list(self.objects.values())})

    async def watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        sent = 0
        while True:
            async with self._changed:
                while len(self._changes) == sent:
                    await self._changed.wait()
            for kind, obj in self._changes[sent:]:
                await response.write(orjson.dumps({"type": kind, "object": obj}) + b"\n")
            sent = len(self._changes)

    async def create(self, request: web.Request) -> web.Response:
        obj = await request.json()
        self.objects[obj["metadata"]["name"]] = obj
        await self._note("ADDED", obj)
        return web.json_response(obj, status=201)

    async def get(self, request: web.Request) -> web.Response:
        found = self.objects.get(request.match_info["name"])
        if found is None:
            name = request.match_info["name"]
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            return web.json_response({**status, "message": f'flunders "{name}" not found'}, status=404)
        return web.json_response(found)

    async def delete(self, request: web.Request) -> web.Response:
        await self._note("DELETED", self.objects.pop(request.match_info["name"]))
        return web.json_response({"kind": "Status", "apiVersion": "v1", "status": "Success"})

    async def hang(self, request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async def talk(self, request: web.Request) -> web.WebSocketResponse:
        """Speaks first, then answers each message in capitals."""
        socket = web.WebSocketResponse(protocols=("v5.channel.k8s.io",))
        await socket.prepare(request)
        await socket.send_str("welcome")
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data.upper())
        return socket

    async def _note(self, kind: str, obj: dict[str, Any]) -> None:
        async with self._changed:
            self._changes.append((kind, obj))
            self._changed.notify_all()

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self.check])
        routes = application.router
        routes.add_get(PATH, self.discovery)
        routes.add_get("/openapi/v2", self.specification)
        routes.add_get(f"/openapi/v3{PATH}", self.specification)
        below = f"{PATH}/namespaces/{{namespace}}/flunders"
        routes.add_get(below, self.list)
        routes.add_post(below, self.create)
        routes.add_get(below + "/{name}", self.get)
        routes.add_get(below + "/{name}/hang", self.hang)
        routes.add_delete(below + "/{name}", self.delete)
        routes.add_get(below + "/{name}/talk", self.talk)
        return application


@contextlib.asynccontextmanager
async def running(api: Api, directory: Path, port: int = 0) -> AsyncIterator[Wardle]:
    wardle = Wardle(api, Authority.ensure(directory, RealClock(), name="wardle"))
    tls = await wardle.learn_trust()
    runner = web.AppRunner(wardle.application(), handle_signals=False, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
        wardle.port = runner.addresses[0][1]
        yield wardle
    finally:
        await runner.cleanup()
