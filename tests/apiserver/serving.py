"""A real server on a loopback port, and a client that shows exactly what it answers."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from kontinuum.apiserver.app import ApiServer
from kontinuum.apiserver.settings import ServerSettings
from kontinuum.foundation.clock import Clock, RealClock
from kontinuum.foundation.pki import Authority, KeyPair
from kontinuum.store.port import Store

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
SYSTEMS_OWN = "extension-apiserver-authentication"
"""The ConfigMap in kube-system that is there from the beginning."""
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


@dataclass(frozen=True)
class Certificates:
    """What a server and its administrator need."""

    authority: Path
    server: KeyPair
    admin: KeyPair


def make_certificates(directory: Path) -> Certificates:
    authority = Authority.ensure(directory, RealClock())
    return Certificates(
        authority.certificate,
        authority.ensure_server("server", common_name="kube-apiserver", hosts=["127.0.0.1", "localhost"]),
        authority.ensure_client("admin", user="kubernetes-admin", groups=["system:masters"]),
    )


@dataclass(frozen=True)
class Answer:
    """A reply; ``body`` is decoded JSON, or text (also for several documents, as in a watch)."""

    code: int
    body: Any
    headers: Any
    text: str = ""

    @property
    def version(self) -> str:
        return str(self.body["metadata"]["resourceVersion"])


class Api:
    """Requests to one server as ``kubernetes-admin``."""

    def __init__(self, session: aiohttp.ClientSession, server: ApiServer) -> None:
        self.session = session
        self.server = server
        self.address = server.address

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Header names are given with underscores: ``content_type``."""
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        data = None
        if body is not None:
            sent.setdefault("content-type", "application/json")
            data = body if isinstance(body, bytes) else orjson.dumps(body)
        async with self.session.request(method, self.address + path, data=data, headers=sent) as response:
            content = await response.read()
            text = content.decode()
            is_json = response.content_type == "application/json" and content and "/watch/" not in path
            return Answer(response.status, orjson.loads(content) if is_json else text, response.headers, text)

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.call("GET", path, **headers)

    async def create(self, path: str, body: Any, **headers: str) -> Answer:
        return await self.call("POST", path, body, **headers)

    async def update(self, path: str, body: Any) -> Answer:
        return await self.call("PUT", path, body)

    async def patch(self, path: str, body: Any, kind: str = "merge") -> Answer:
        return await self.call("PATCH", path, body, content_type=PATCH_TYPES[kind])

    async def delete(self, path: str, body: Any = None) -> Answer:
        return await self.call("DELETE", path, body)

    @contextlib.asynccontextmanager
    async def watch(self, path: str, query: str, **headers: str) -> AsyncIterator[Events]:
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        url = f"{self.address}{path}?watch=true&{query}"
        async with self.session.get(url, headers=sent) as response:
            yield Events(response)


class Events:
    """The lines of a watch."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.code = response.status

    async def next(self) -> dict[str, Any]:
        """The next event; fails after thirty seconds."""
        async with asyncio.timeout(30):
            line = await self._response.content.readline()
        return orjson.loads(line) if line else {}

    async def take(self, count: int) -> list[tuple[str, str]]:
        """Types and names of the next ``count`` events."""
        events = [await self.next() for _ in range(count)]
        return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]

    async def rest(self) -> list[dict[str, Any]]:
        """Everything until the server ends the watch."""
        found = []
        while event := await self.next():
            found.append(event)
        return found


@contextlib.asynccontextmanager
async def serving(
    store: Store,
    certificates: Certificates,
    *,
    listen: str = "127.0.0.1:0",
    clock: Clock | None = None,
    **settings: Any,
) -> AsyncIterator[Api]:
    """A started server and a client of it; both end with the block."""
    server = ApiServer(
        store,
        ServerSettings(
            listen=listen,
            certificate=certificates.server.certificate,
            key=certificates.server.key,
            client_ca=certificates.authority,
            **settings,
        ),
        clock or RealClock(),
    )
    try:
        await server.start()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=_unchanged_tls(certificates))) as session:
            api = Api(session, server)
            # There are no controllers here that would do it, and pods need it.
            await api.create("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
            yield api
        # Whatever a test did: nobody has changed an object that others look at too.
        for entry, obj in server.shared_objects:
            assert orjson.loads(entry.value) == obj, f"{entry.key} was changed by somebody who looked at it"
    finally:
        await server.stop()


def client_tls(certificates: Certificates) -> ssl.SSLContext:
    """A new one, which a test may change."""
    context = ssl.create_default_context(cafile=str(certificates.authority))
    context.load_cert_chain(certificates.admin.certificate, certificates.admin.key)
    return context


_unchanged_tls = cache(client_tls)
"""For the servers' own clients, of which there are more than a thousand: to read the files takes milliseconds."""


def configmap(name: str, labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    body: dict[str, Any] = {"metadata": {"name": name, "labels": labels or {}}}
    return {**body, "data": data} if data else body


def pod(name: str, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "main", "image": "localhost/nginx:1"}]
    return {"metadata": {"name": name, "labels": {"app": name}}, "spec": {"containers": containers, **spec}}


def deployment(name: str, replicas: int = 1) -> dict[str, Any]:
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "main", "image": "localhost/nginx:1"}]},
    }
    return {
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }
